"""How a phase changes: requests open, answers come, the candidate takes shape, the snapshot lands."""

from typing import assert_never

from msgspec.structs import replace

from events.event import Event
from events.evolve.answers import evolve_answer
from events.evolve.changes import opened, tier_of, with_phase, with_tier
from events.families.apply import ApplyRequested, PatchAccepted, PatchRejected
from events.families.audit import AuditCompleted, AuditFailed, AuditRequested
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.integrate import IntegrationFailed, IntegrationRequested, SnapshotCreated
from events.families.phase import PhaseCompleted, PhaseFailed, PhaseSkipped, PhaseStarted
from events.families.verify import ChecksFailed, ChecksPassed, ChecksRequested
from events.plan import EXTERNAL
from events.state import ApplyOrder, Approval, OpenRequest, RequestKind, Run
from events.states import PhaseState

Request = BuildRequested | AuditRequested | ApplyRequested | ChecksRequested | IntegrationRequested
Answer = (
    BuildSucceeded
    | BuildFailed
    | AuditCompleted
    | AuditFailed
    | PatchAccepted
    | PatchRejected
    | ChecksPassed
    | ChecksFailed
    | SnapshotCreated
    | IntegrationFailed
)
Milestone = PhaseStarted | PhaseCompleted | PhaseFailed | PhaseSkipped


def evolve_phase(run: Run, event: Event, data: Request | Answer | Milestone) -> Run:
    """Fold one event of a phase into its run."""
    match data:
        case PhaseStarted():
            run = replace(run, phases_started=run.phases_started + 1)
            return with_phase(run, data.phase_id, begun=True)
        case PhaseCompleted():
            return with_phase(run, data.phase_id, state=PhaseState.COMPLETE, ended=True)
        case PhaseFailed():
            return with_phase(run, data.phase_id, state=PhaseState.FAILED, ended=True)
        case PhaseSkipped():
            return with_phase(run, data.phase_id, state=PhaseState.SKIPPED, ended=True)
        case BuildRequested() | AuditRequested() | ApplyRequested() | ChecksRequested() | IntegrationRequested():
            return _requested(run, event, data)
        case _:
            return evolve_answer(run, data)


_KIND = {
    BuildRequested: RequestKind.BUILD,
    AuditRequested: RequestKind.AUDIT,
    ApplyRequested: RequestKind.APPLY,
    ChecksRequested: RequestKind.CHECKS,
    IntegrationRequested: RequestKind.INTEGRATION,
}


def _requested(run: Run, event: Event, data: Request) -> Run:
    external = isinstance(data, BuildRequested | AuditRequested) and data.agent == EXTERNAL
    request = OpenRequest(
        event.id,
        _KIND[type(data)],
        data.phase_id,
        data.attempt,
        event.recorded_at,
        data.limit_seconds,
        external=external,
    )
    run = opened(run, request)
    match data:
        case BuildRequested():
            return _build_requested(run, data)
        case AuditRequested():
            return _audit_requested(run, data)
        case ApplyRequested():
            order = ApplyOrder(event.id, event.recorded_at, data.parent)
            return with_phase(run, data.phase_id, state=PhaseState.GATE, apply_order=order, candidate=None)
        case ChecksRequested():
            return _checks_requested(run, data)
        case IntegrationRequested():
            return run
        case _:
            assert_never(data)


def _build_requested(run: Run, data: BuildRequested) -> Run:
    """What is asked of an external builder leaves the phase in the state that was last reported."""
    external = data.agent == EXTERNAL
    return with_phase(
        run,
        data.phase_id,
        state=run.phase(data.phase_id).state if external else PhaseState.QUEUED,
        attempt=data.attempt,
        audits=0,
        patches=(),
        probes=(),
        approval=None,
        audited=None,
        review_asked=False,
        apply_order=None,
        candidate=None,
        setback=None,
        attempt_tokens=0,
        feedback=data.feedback,
    )


def _audit_requested(run: Run, data: AuditRequested) -> Run:
    """What is asked of an external auditor leaves the phase in the state that was last reported, too."""
    phase = run.phase(data.phase_id)
    return with_phase(
        run,
        data.phase_id,
        state=phase.state if data.agent == EXTERNAL else PhaseState.GATE,
        audits=data.audit,
        audits_in_all=phase.audits_in_all + 1,
        audited=Approval(data.base_commit, data.patches),
    )


def _checks_requested(run: Run, data: ChecksRequested) -> Run:
    tier = tier_of(run, run.phase(data.phase_id))
    run = with_tier(run, tier.tier_id, ci_runs_used=tier.ci_runs_used + 1)
    run = replace(run, ci_runs_used=run.ci_runs_used + 1)
    return with_phase(run, data.phase_id, state=PhaseState.CI_RUNNING)
