"""What a decision must be told besides the state."""

from datetime import datetime

from msgspec import Struct


class Context(Struct, frozen=True):
    """What `decide` must be told: the time at which the log took the record, and the operator's limits."""

    now: datetime
    runs_at_once: int | None = None
