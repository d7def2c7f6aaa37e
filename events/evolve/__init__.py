"""`evolve`: the state of a project after one more event. Pure; the only way that state changes."""

from immutables import Map
from msgspec.structs import replace

from events.event import Event
from events.evolve.changes import settled
from events.evolve.run import evolve_run
from events.families.budget import BudgetSettled
from events.families.run import RunCompleted, RunFailed, RunPromoted, RunRequested
from events.state import EndedRun, Project, RequestKind, Run
from events.states import RunState


def evolve(project: Project, event: Event) -> Project:
    """Fold one event of the history into its project."""
    match event.data:
        case RunRequested():
            return _requested(project, event, event.data)
        case RunCompleted() | RunFailed():
            return _ended(project, event, event.data)
        case _ if event.run_id in project.ended:
            return _after_the_end(project, event)
        case _:
            return _inside(project, event)


def _requested(project: Project, event: Event, data: RunRequested) -> Project:
    run = Run(
        run_id=event.run_id,
        origin=(event.source, event.id),
        request=data,
        requested_at=event.recorded_at,
        admitted=Map({(event.source, event.id): True}),
    )
    return replace(
        project,
        runs=project.runs.set(run.run_id, run),
        queue=(*project.queue, run.run_id),
        adrift=_without(project.adrift, data.retry_of),  # whoever retries a run has looked at it
    )


def _ended(project: Project, event: Event, data: RunCompleted | RunFailed) -> Project:
    run = project.runs[event.run_id]
    ended = EndedRun(data.state, run.origin, run.head, _obstacle(run, data.state), run.unsettled)
    branch_unknown = any(request.kind is RequestKind.INTEGRATION for request in run.open.values())
    return replace(
        project,
        runs=project.runs.delete(run.run_id),
        ended=project.ended.set(run.run_id, ended),
        queue=_without(project.queue, run.run_id),
        adrift=(*project.adrift, run.run_id) if branch_unknown else project.adrift,
    )


def _obstacle(run: Run, state: RunState) -> str | None:
    """What stands in the way of a promotion, for ever."""
    if state is not RunState.DONE_SUCCESS:
        return f"it ended as {state}"
    if run.strategy is None or run.strategy.checks is None:
        return "it was not checked"
    unclean = next((tier.tier_id for tier in run.tiers if not tier.clean), None)
    return None if unclean is None else f"its tier {unclean!r} is not clean"


def _after_the_end(project: Project, event: Event) -> Project:
    ended = project.ended[event.run_id]
    match event.data:
        case RunPromoted():
            ended = replace(ended, promotions=(*ended.promotions, (event.source, event.id)))
        case BudgetSettled():
            owed = settled(ended.unsettled, event.data.request_id, event.data.usage)
            ended = replace(ended, unsettled=owed)
        case _:
            raise AfterTheEnd(f"{type(event.data).__name__} in ended run {event.run_id}")
    return replace(project, ended=project.ended.set(event.run_id, ended))


class AfterTheEnd(Exception):
    """The history holds an event that may not follow the end of a run."""


def _inside(project: Project, event: Event) -> Project:
    run = evolve_run(project.runs[event.run_id], event)
    queue = project.queue if run.started_at is None else _without(project.queue, run.run_id)
    return replace(project, runs=project.runs.set(run.run_id, run), queue=queue)


def _without(queue: tuple[str, ...], run_id: str | None) -> tuple[str, ...]:
    return tuple(r for r in queue if r != run_id) if run_id in queue else queue
