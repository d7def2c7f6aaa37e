"""Deadlines as the supervisor submits them to itself, under ids that follow from them by rule."""

from datetime import datetime

from events.decide.deadlines import Deadline
from events.envelope import write_submission
from events.event import Event
from events.families.time import DeadlinePassed
from events.ids import derived_id
from events.log.port import NewRecord

DEADLINE_SOURCE = "/autopack/supervisor/deadlines"


def deadline_record(project: str, deadline: Deadline, now: datetime) -> NewRecord:
    """The record that says that a deadline has passed; submitting it again changes nothing."""
    data = DeadlinePassed(kind=deadline.kind, request_id=deadline.request_id, due_at=deadline.due_at)
    event = Event(
        id=_id(project, deadline.run_id, data),
        source=DEADLINE_SOURCE,
        run_id=deadline.run_id,
        recorded_at=now,
        data=data,
    )
    return NewRecord(project, write_submission(event, project), {"type": data.type_name().encode()})


def is_forged(project: str, event: Event) -> bool:
    """Whether an event bears the deadlines' source and is none.

    Anybody can foretell their ids. An id that was admitted once is passed over the next time, so a stranger
    who used one up for something else would take the run's deadline away.
    """
    if event.source != DEADLINE_SOURCE:
        return False
    return not isinstance(event.data, DeadlinePassed) or event.id != _id(project, event.run_id, event.data)


def _id(project: str, run_id: str, data: DeadlinePassed) -> str:
    return derived_id("deadline", project, run_id, data.kind, data.request_id or "", data.due_at.isoformat())
