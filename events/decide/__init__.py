"""`decide`: what a submitted record becomes. Pure: time, limits and ids come in as data."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from events.catalogue import AnyEventData
from events.decide.admission import admit
from events.decide.due import due
from events.decide.queue import next_in_line
from events.decide.settlement import late_usage
from events.decide.verdicts import Admitted, Duplicate, Rejection
from events.event import Event
from events.evolve import evolve
from events.ids import derived_id
from events.state import Project

SOURCE = "/autopack/supervisor"
STEP_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Context:
    """What `decide` must be told: the time at which the log took the record, and the operator's limits."""

    now: datetime
    runs_at_once: int | None = None


class EndlessDecision(Exception):
    """A decision did not come to rest: two rules undo each other."""


def decide(project: Project, submitted: Event, context: Context) -> list[Event] | Rejection:
    """The events that follow from a submitted one, itself first; an empty list for a repetition.

    Deciding again on the same state gives the same events with the same ids.
    """
    verdict = admit(project, submitted, context.now)
    match verdict:
        case Rejection():
            return _settling(project, submitted, verdict, context)
        case Duplicate():
            return []
        case Admitted():
            return _follow(project, submitted, submitted, context)
        case _:
            assert_never(verdict)


def _settling(project: Project, submitted: Event, rejection: Rejection, context: Context) -> Rejection:
    """What a refused answer says was used is written down all the same, with whatever follows from that."""
    usage = late_usage(project, submitted, rejection)
    if usage is None:
        return rejection
    settled = _caused(submitted, project.project_id, 0, submitted.run_id, usage, context.now)
    return replace(rejection, settles=tuple(_follow(project, settled, submitted, context)))


def _follow(project: Project, first: Event, submitted: Event, context: Context) -> list[Event]:
    """Write down the first event, then whatever is due, one event at a time, until nothing is."""
    events = [first]
    project = evolve(project, first)
    touched = first.run_id
    while (following := _next(project, touched, context)) is not None:
        touched, data = following
        event = _caused(submitted, project.project_id, len(events), touched, data, context.now)
        events.append(event)
        project = evolve(project, event)
        if len(events) > STEP_LIMIT:
            raise EndlessDecision(f"{submitted.id}: {[type(e.data).__name__ for e in events[-6:]]}")
    return events


def _next(project: Project, run_id: str, context: Context) -> tuple[str, AnyEventData] | None:
    """What is due in the run just touched, else in the first waiting run that may begin."""
    run = project.runs.get(run_id)
    waits_in_line = run is not None and run.started_at is None and run.ending is None
    data = due(run, context.now) if run is not None and not waits_in_line else None
    if data is not None:
        return run_id, data
    return next_in_line(project, context.runs_at_once)


def _caused(cause: Event, project_id: str, index: int, run_id: str, data: AnyEventData, now: datetime) -> Event:
    """The run is part of the id: a client that uses an id again in another run must not mix up the two."""
    return Event(
        id=derived_id(project_id, run_id, cause.source, cause.id, index),
        source=SOURCE,
        run_id=run_id,
        recorded_at=now,
        data=data,
        cause_id=cause.id,
        traceparent=cause.traceparent,
    )
