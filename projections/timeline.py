"""One row an event: what happened when, in a line, and where its exact bytes lie in the log."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct

from projections.naming import phase_named, request_named, tier_named
from projections.projection import EVERY_TYPE, Entry, Key, Projection
from projections.summaries import summary


class TimelineRow(Struct, frozen=True):
    """An event. `type` is its name and version, as in `BuildSucceeded.v1`; `emitted_at` is the emitter's word."""

    project: str
    run_id: str
    sequence: int
    partition: int
    log_offset: int
    type: str
    event_id: str
    source: str
    cause_id: str | None
    request_id: str | None
    phase_id: str | None
    tier_id: str | None
    recorded_at: datetime
    emitted_at: datetime | None
    summary: str


def project(rows: Mapping[Key, TimelineRow], entry: Entry) -> Iterable[TimelineRow]:
    """The event's own row."""
    event = entry.event
    return [
        TimelineRow(
            project=entry.project,
            run_id=entry.run_id,
            sequence=entry.sequence,
            partition=entry.partition,
            log_offset=entry.offset,
            type=entry.type_name.removeprefix("autopack."),
            event_id=event.id,
            source=event.source,
            cause_id=event.cause_id,
            request_id=request_named(event.data),
            phase_id=phase_named(event.data),
            tier_id=tier_named(event.data),
            recorded_at=entry.at,
            emitted_at=event.time,
            summary=summary(event.data),
        )
    ]


TIMELINE: Projection[TimelineRow] = Projection(
    name="timeline",
    version=1,
    row=TimelineRow,
    key=("project", "run_id", "sequence"),
    wanted=EVERY_TYPE,
    project=project,
    memory=None,
)
