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
        line=project.line.joined(run.run_id, _awaited(project, data.follows)),
        adrift=_without(project.adrift, data.retry_of),  # whoever retries a run has looked at it
    )


def _awaited(project: Project, follows: str | None) -> str | None:
    """The run whose end a new one has to wait for. One in quarantine never ends: nobody need wait for it."""
    return None if follows in project.ended or follows in project.lost else follows


def _ended(project: Project, event: Event, data: RunCompleted | RunFailed) -> Project:
    run = project.runs[event.run_id]
    ended = EndedRun(data.state, run.origin, run.head, _obstacle(run, data.state), run.unsettled)
    branch_unknown = any(request.kind is RequestKind.INTEGRATION for request in run.open.values())
    return replace(
        project,
        runs=project.runs.delete(run.run_id),
        ended=project.ended.set(run.run_id, ended),
        line=project.line.left_by(run.run_id).released_by(run.run_id),
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


def lose(project: Project, run_id: str) -> Project:
    """The project when a run that has not ended is in quarantine: it neither waits nor is waited for."""
    line = project.line.left_by(run_id).released_by(run_id)
    return replace(project, line=line, lost=(*project.lost, run_id))


def _inside(project: Project, event: Event) -> Project:
    run = evolve_run(project.runs[event.run_id], event)
    line = project.line if run.started_at is None else project.line.left_by(run.run_id)
    return replace(project, runs=project.runs.set(run.run_id, run), line=line)


def _without(run_ids: tuple[str, ...], run_id: str | None) -> tuple[str, ...]:
    return tuple(r for r in run_ids if r != run_id) if run_id in run_ids else run_ids
