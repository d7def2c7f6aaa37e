"""What is due in a run: the one event that its state calls for next, or nothing while it waits.

Every transition of the system is one of these rules. Each reads facts of the state and names one event;
`decide` writes it down, folds it, and asks again.
"""

from collections.abc import Iterator
from datetime import datetime

from events.catalogue import AnyEventData
from events.decide.attempts import phase_due
from events.decide.endings import ending_due, refuse_run, tier_completed
from events.decide.limits import limit_passed, phases_limit_passed, tier_tokens_limit_passed
from events.decide.room import too_large
from events.families.failure import FailureClass
from events.families.phase import PhaseStarted
from events.families.run import RunAccepted, RunCompleted, RunFailed
from events.families.tier import TierStarted
from events.families.work import RevokeReason, WorkRevoked
from events.playbook import NoChecks, compile_strategy
from events.refs import integration_branch
from events.state import Phase, Run, oldest_first
from events.states import PhaseState, RunState, TierState


def due(run: Run, now: datetime) -> AnyEventData | None:
    """The next event of a run that has begun, or None while it waits for an answer or a deadline."""
    return next(_all_due(run, now), None)


def _all_due(run: Run, now: datetime) -> Iterator[AnyEventData]:
    """In order of precedence; only the first is taken, since each changes what the others would say."""
    if run.ending is not None:
        yield from ending_due(run, run.ending)
        return
    yield from _overdue(run)
    if run.accepted:
        yield from limit_passed(run)
        yield from tier_tokens_limit_passed(run)
        yield from _phases_due(run, now)
        yield from _tiers_due(run)
        yield from _completed(run)
    elif run.base_commit is not None:
        yield _acceptance(run)


def _overdue(run: Run) -> Iterator[AnyEventData]:
    """Hardly ever any: so no others are put in order for it."""
    for request in oldest_first(one for one in run.open.values() if one.stands and one.overdue):
        yield WorkRevoked(request_id=request.id, reason=RevokeReason.TIME_LIMIT)


def _acceptance(run: Run) -> RunAccepted | RunFailed:
    if run.configuration is None:
        raise ValueError(f"run {run.run_id} is prepared without a configuration")
    try:
        strategy = compile_strategy(run.request, run.configuration)
    except NoChecks as error:
        return refuse_run(run, RunState.DONE_FAILED_ENVIRONMENT, str(error), FailureClass.CONFIGURATION)
    if faults := too_large(run.request, strategy, run.configuration.prepare):
        reason = f"{faults[0].place}: {faults[0].message}"
        return refuse_run(run, RunState.DONE_FAILED_ENVIRONMENT, reason, FailureClass.CONFIGURATION)
    branch = integration_branch(run.run_id)
    return RunAccepted(base_commit=run.base_commit, integration_branch=branch, strategy=strategy)


def _phases_due(run: Run, now: datetime) -> Iterator[AnyEventData]:
    waiting = {request.phase_id for request in run.open.values() if request.stands}
    for phase in run.phases:
        if phase.begun and not phase.ended and phase.spec.phase_id not in waiting:
            yield from phase_due(run, phase, now)


def _tiers_due(run: Run) -> Iterator[AnyEventData]:
    """Tiers one after another; within a tier every phase whose predecessors are complete."""
    tier = next((t for t in run.tiers if t.state in (TierState.PENDING, TierState.IN_PROGRESS)), None)
    if tier is None:
        return
    phases = [p for p in run.phases if p.spec.tier_id == tier.tier_id]
    if tier.state is TierState.PENDING:
        yield TierStarted(tier_id=tier.tier_id, tier_index=tier.tier_index)
    if all(p.state is PhaseState.COMPLETE for p in phases):
        yield tier_completed(run, tier, TierState.COMPLETE)
    complete = {p.spec.phase_id for p in run.phases if p.state is PhaseState.COMPLETE}
    for phase in phases:
        if not phase.begun and complete.issuperset(phase.depends_on):
            yield from _start(run, phase)


def _start(run: Run, phase: Phase) -> Iterator[AnyEventData]:
    yield from phases_limit_passed(run)
    yield PhaseStarted(phase_id=phase.spec.phase_id, tier_id=phase.spec.tier_id)


def _completed(run: Run) -> Iterator[AnyEventData]:
    """A run without phases only tracks, and stays until its time limit."""
    if run.phases and all(p.state is PhaseState.COMPLETE for p in run.phases):
        yield RunCompleted(
            head_commit=run.head,
            tokens_used=run.tokens_used,
            tokens_are_lower_bound=run.tokens_are_lower_bound,
            ci_runs_used=run.ci_runs_used,
        )
