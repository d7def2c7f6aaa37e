"""What a decision must be told besides the state."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Context:
    """What `decide` must be told: the time at which the log took the record, and the operator's limits."""

    now: datetime
    runs_at_once: int | None = None
