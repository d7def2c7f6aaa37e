"""How a run changes: its beginning, its end, and what it hands on to its phases."""

from typing import assert_never

from msgspec.structs import replace

from events.catalogue import SUBMITTED_TO
from events.event import Event
from events.evolve.changes import answered, opened, settle, with_tier
from events.evolve.phase import evolve_phase
from events.evolve.work import evolve_work
from events.families.apply import ApplyRequested, PatchAccepted, PatchRejected
from events.families.audit import AuditCompleted, AuditFailed, AuditRequested
from events.families.base import LONGEST_TEXT
from events.families.budget import BudgetExceeded, BudgetReserved, BudgetSettled
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.failure import FailureClass
from events.families.integrate import IntegrationFailed, IntegrationRequested, SnapshotCreated
from events.families.issue import IssueRecorded, IssueReported
from events.families.phase import (
    PhaseCompleted,
    PhaseFailed,
    PhaseFailure,
    PhaseOverrideRequested,
    PhaseSkipped,
    PhaseStarted,
)
from events.families.run import (
    PrepareFailed,
    PrepareRequested,
    RunAccepted,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunPrepared,
    RunPromoted,
    RunRequested,
)
from events.families.tier import TierCompleted, TierStarted
from events.families.time import DeadlineKind, DeadlinePassed
from events.families.verify import ChecksFailed, ChecksPassed, ChecksRequested
from events.families.work import RevokeReason, WorkRevoked, WorkStarted
from events.plan import dependencies, phases_in_order, tiers_in_order
from events.state import Ending, OpenRequest, Phase, RequestKind, Run, Tier
from events.states import RunState, TierState


def evolve_run(run: Run, event: Event) -> Run:
    """Fold one event into a run that has not ended."""
    data = event.data
    if type(data) in SUBMITTED_TO:
        run = replace(run, admitted=run.admitted.set((event.source, event.id), True))
    match data:  # what comes most often stands first: each case that does not fit costs
        case WorkStarted() | WorkRevoked():
            return evolve_work(run, event, data)
        case ApplyRequested() | PatchAccepted() | PatchRejected():
            return evolve_phase(run, event, data)
        case ChecksRequested() | ChecksPassed() | ChecksFailed():
            return evolve_phase(run, event, data)
        case IntegrationRequested() | SnapshotCreated() | IntegrationFailed():
            return evolve_phase(run, event, data)
        case BuildRequested() | BuildSucceeded() | BuildFailed():
            return evolve_phase(run, event, data)
        case PhaseStarted() | PhaseCompleted() | PhaseSkipped():
            return evolve_phase(run, event, data)
        case AuditRequested() | AuditCompleted() | AuditFailed():
            return evolve_phase(run, event, data)
        case TierStarted():
            return with_tier(run, data.tier_id, state=TierState.IN_PROGRESS)
        case TierCompleted():
            return with_tier(run, data.tier_id, state=data.state, clean=data.cleanliness == "clean")
        case PrepareRequested() | RunPrepared() | PrepareFailed() | RunAccepted():
            return _bootstrap(run, event, data)
        case RunCancelRequested() | DeadlinePassed() | BudgetExceeded() | PhaseFailed():
            return _towards_the_end(run, event, data)
        case BudgetSettled():
            run = settle(run, data)
            return replace(run, usage_unknown=True) if data.usage.tokens is None else run
        case BudgetReserved() | IssueReported() | IssueRecorded() | PhaseOverrideRequested():
            return run
        case RunRequested() | RunCompleted() | RunFailed() | RunPromoted():
            return run
        case _:
            assert_never(data)


def _bootstrap(run: Run, event: Event, data: PrepareRequested | RunPrepared | PrepareFailed | RunAccepted) -> Run:
    match data:
        case PrepareRequested():
            request = OpenRequest(event.id, RequestKind.PREPARE, None, 0, event.recorded_at, data.limit_seconds)
            return opened(replace(run, started_at=event.recorded_at), request)
        case RunPrepared():
            return replace(
                answered(run, data.request_id),
                base_commit=data.base_commit,
                head=data.base_commit,
                configuration=data.configuration,
            )
        case PrepareFailed():
            revoked = not run.open[data.request_id].stands
            run = answered(run, data.request_id)
            return run if revoked else _unprepared(run, event, data.failure, data.reason)
        case RunAccepted():
            return _accepted(run, event, data)
        case _:
            assert_never(data)


def _unprepared(run: Run, event: Event, failure: FailureClass, reason: str) -> Run:
    state = RunState.DONE_FAILED_ENVIRONMENT
    return _ending(run, Ending(state, reason, event.recorded_at, RevokeReason.RUN_FAILED, failure=failure))


def _accepted(run: Run, event: Event, data: RunAccepted) -> Run:
    needs = dependencies(run.request)
    by_id = {s.phase_id: s for s in data.strategy.phases}
    phases = tuple(
        Phase(spec=spec, strategy=by_id[spec.phase_id], depends_on=needs[spec.phase_id])
        for spec in phases_in_order(run.request)
    )
    tiers = tuple(Tier(t.tier_id, t.tier_index) for t in tiers_in_order(run.request))
    started_at = run.started_at or event.recorded_at
    return replace(run, started_at=started_at, strategy=data.strategy, phases=phases, tiers=tiers)


def _towards_the_end(
    run: Run, event: Event, data: RunCancelRequested | DeadlinePassed | BudgetExceeded | PhaseFailed
) -> Run:
    match data:
        case RunCancelRequested():
            reason = data.reason or "cancelled"
            state = RunState.DONE_FAILED_CANCELLED
            return _ending(run, Ending(state, reason, event.recorded_at, RevokeReason.RUN_CANCELLED))
        case BudgetExceeded():
            state = RunState.DONE_FAILED_BUDGET_EXHAUSTED
            return _ending(run, Ending(state, data.reason, event.recorded_at, RevokeReason.BUDGET))
        case DeadlinePassed():
            return _deadline(run, event, data)
        case PhaseFailed():
            return _phase_failed(evolve_phase(run, event, data), event, data)
        case _:
            assert_never(data)


def _deadline(run: Run, event: Event, data: DeadlinePassed) -> Run:
    match data.kind:
        case DeadlineKind.RUN:
            reason = f"the run's limit of {run.request.max_duration_minutes:g} minutes has passed"
            state = RunState.DONE_FAILED_BUDGET_EXHAUSTED
            return _ending(run, Ending(state, reason, event.recorded_at, RevokeReason.BUDGET))
        case DeadlineKind.REQUEST:
            return _overdue(run, data.request_id)
        case DeadlineKind.ENDING:
            return replace(run, ending=run.ending and replace(run.ending, patience_over=True))
        case DeadlineKind.INTEGRATION:
            return replace(run, ending=run.ending and replace(run.ending, integration_patience_over=True))
        case DeadlineKind.TURN:
            return run
        case _:
            assert_never(data.kind)


def _overdue(run: Run, request_id: str | None) -> Run:
    if request_id is None or request_id not in run.open:
        return run
    request = replace(run.open[request_id], overdue=True)
    return replace(run, open=run.open.set(request_id, request))


_STATE_AFTER = {
    PhaseFailure.POLICY_VIOLATION: RunState.DONE_FAILED_POLICY_VIOLATION,
    PhaseFailure.OUT_OF_ATTEMPTS: RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW,
    PhaseFailure.ESCALATED: RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW,
    PhaseFailure.ENVIRONMENT: RunState.DONE_FAILED_ENVIRONMENT,
}


def _phase_failed(run: Run, event: Event, data: PhaseFailed) -> Run:
    if data.cause is PhaseFailure.RUN_ENDED:
        return run
    ending = Ending(
        _STATE_AFTER[data.cause],
        f"phase {data.phase_id}: {data.reason}"[:LONGEST_TEXT],
        event.recorded_at,
        RevokeReason.RUN_FAILED,
        phase_id=data.phase_id,
        failure=data.failure,
    )
    return _ending(run, ending)


def _ending(run: Run, ending: Ending) -> Run:
    """The first cause decides how a run ends; later ones change nothing."""
    return run if run.ending else replace(run, ending=ending)
