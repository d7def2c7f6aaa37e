"""An event as the decider sees it: what happened, to which run, when, and because of what."""

from datetime import datetime

from msgspec import Struct

from events.catalogue import AnyEventData


class Event(Struct, frozen=True):
    """One event of one run.

    `recorded_at` is the log's clock, never an emitter's: deadlines count from it, and it is the same at
    every fold. `time` is what the emitter says, kept for readers and never decided upon.
    """

    id: str
    source: str
    run_id: str
    recorded_at: datetime
    data: AnyEventData
    cause_id: str | None = None
    time: datetime | None = None
    traceparent: str | None = None
