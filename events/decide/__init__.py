"""`decide`: what a submitted record becomes. Pure: time, limits and ids come in as data."""

from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from events.decide.admission import admit
from events.decide.context import Context
from events.decide.queue import first_event, next_in_line
from events.decide.settlement import late_usage
from events.decide.step import SOURCE, EndlessDecision, Step
from events.decide.verdicts import Admitted, Duplicate, Rejection
from events.event import Event
from events.state import Project

__all__ = ["SOURCE", "Context", "EndlessDecision", "Outcome", "decide", "outcome"]


class Outcome(Struct, frozen=True):
    """What a submitted record becomes: the events to write, and the project with them folded in.

    Where it is refused, the events are those that `rejection` settles.
    """

    project: Project
    events: tuple[Event, ...] = ()
    rejection: Rejection | None = None


def decide(project: Project, submitted: Event, context: Context) -> list[Event] | Rejection:
    """The events that follow from a submitted one, itself first; an empty list for a repetition.

    Deciding again on the same state gives the same events with the same ids.
    """
    found = outcome(project, submitted, context)
    return list(found.events) if found.rejection is None else found.rejection


def outcome(project: Project, submitted: Event, context: Context) -> Outcome:
    """The same with the project as the events make it, so that nobody has to fold them again."""
    verdict = admit(project, submitted, context)
    match verdict:
        case Rejection():
            return _settling(project, submitted, verdict, context)
        case Duplicate():
            return Outcome(project)
        case Admitted():
            step = Step(project, submitted, (submitted.source, submitted.id), context.now)
            step.take(submitted)
            events = tuple(_follow(step, submitted.run_id, context))
            return Outcome(step.project, events)
        case _:
            assert_never(verdict)


def _settling(project: Project, submitted: Event, rejection: Rejection, context: Context) -> Outcome:
    """What a refused answer says was used is written down all the same, with whatever follows from that."""
    late = late_usage(project, submitted, rejection)
    if late is None:
        return Outcome(project, rejection=rejection)
    # A refused id is not kept: a client may use it again, in answers to other requests or with another usage.
    parts = (submitted.source, submitted.id, late.owed.request_id, len(late.owed.known))
    step = Step(project, submitted, parts, context.now)
    step.write(submitted.run_id, late.settled)
    events = tuple(_follow(step, submitted.run_id, context))
    return Outcome(step.project, events, replace(rejection, settles=events))


def _follow(step: Step, run_id: str, context: Context) -> list[Event]:
    """Whatever is due in the run, and then in one that waited in line, if one may begin.

    No more than one: all that wait might begin at once, and a step must fit into the log. For the next one
    a deadline stands (`events.decide.deadlines.turn`).
    """
    step.bring_to_rest(run_id)
    waiting = next_in_line(step.project, context.runs_at_once)
    if waiting is not None:
        step.write(waiting, first_event(step.project, waiting))
        step.bring_to_rest(waiting)
    return step.events
