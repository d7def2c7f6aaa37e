"""How a run comes to its end: what is open is revoked, answers are awaited for a while, all is closed."""

from collections.abc import Iterator

from events.catalogue import AnyEventData
from events.decide.limits import tier_checks_limit, tier_tokens_limit
from events.decide.room import with_details
from events.families.base import LONGEST_TEXT
from events.families.failure import FailureClass
from events.families.phase import PhaseCompleted, PhaseFailed, PhaseFailure, PhaseSkipped
from events.families.run import Incident, RunFailed
from events.families.tier import TierCompleted
from events.families.work import WorkRevoked
from events.state import Ending, OpenRequest, Phase, RequestKind, Run, Tier
from events.states import PhaseState, RunState, TierState


def ending_due(run: Run, ending: Ending) -> Iterator[AnyEventData]:
    """Revocations first; then, when nothing is awaited any more, the last events of phases, tiers and run."""
    for request in run.requests:
        if request.stands and request.kind is not RequestKind.INTEGRATION:
            yield WorkRevoked(request_id=request.id, reason=ending.revoke)
    if any(_awaited(request, ending) for request in run.open.values()):
        return
    for phase in run.phases:
        if not phase.ended:
            yield _last_of_phase(phase, ending)
    for tier in run.tiers:
        if tier.state in (TierState.PENDING, TierState.IN_PROGRESS):
            yield _last_of_tier(run, tier.tier_id)
    yield _last_of_run(run, ending)


def _awaited(request: OpenRequest, ending: Ending) -> bool:
    """Nobody reports on a request that nobody claimed; an integration must be known to have landed or not."""
    if request.kind is RequestKind.INTEGRATION:
        return not ending.integration_patience_over
    return request.claim is not None and not ending.patience_over


def _last_of_phase(phase: Phase, ending: Ending) -> PhaseCompleted | PhaseFailed | PhaseSkipped:
    if phase.commit is not None:
        return phase_completed(phase)
    if not phase.begun:
        return PhaseSkipped(phase_id=phase.spec.phase_id, reason=ending.reason)
    return PhaseFailed(
        phase_id=phase.spec.phase_id,
        cause=PhaseFailure.RUN_ENDED,
        failure=phase.setback.failure if phase.setback else None,
        reason=ending.reason,
        attempts=phase.attempt,
        audits=phase.audits_in_all,
        tokens_used=phase.tokens_used,
    )


def phase_completed(phase: Phase) -> PhaseCompleted:
    """The phase's change has landed."""
    return PhaseCompleted(
        phase_id=phase.spec.phase_id,
        commit=phase.commit,
        tag=phase.tag,
        attempts=phase.attempt,
        audits=phase.audits_in_all,
        tokens_used=phase.tokens_used,
    )


def _last_of_tier(run: Run, tier_id: str) -> TierCompleted:
    tier = next(t for t in run.tiers if t.tier_id == tier_id)
    phases = [p for p in run.phases if p.spec.tier_id == tier_id]
    state = TierState.FAILED if tier.state is TierState.IN_PROGRESS else TierState.SKIPPED
    if phases and all(p.state is PhaseState.COMPLETE for p in phases):
        state = TierState.COMPLETE
    return tier_completed(run, tier, state)


def tier_completed(run: Run, tier: Tier, state: TierState) -> TierCompleted:
    """Nothing more happens in a tier. It is clean unless it failed or used more than a tier may."""
    tokens = tier.tokens_used > tier_tokens_limit(run, tier.tier_id)
    ci_runs = tier.ci_runs_used > tier_checks_limit(run, tier.tier_id)
    return TierCompleted(
        tier_id=tier.tier_id,
        state=state,
        cleanliness="not_clean" if state is TierState.FAILED or tokens or ci_runs else "clean",
        tokens_used=tier.tokens_used,
        ci_runs_used=tier.ci_runs_used,
        token_limit_exceeded=tokens,
        ci_run_limit_exceeded=ci_runs,
    )


_BRANCH_UNKNOWN = " (where the integration branch stands is not known: look at it before you go on)"


def _last_of_run(run: Run, ending: Ending) -> RunFailed:
    reason = ending.reason
    if any(r.kind is RequestKind.INTEGRATION for r in run.open.values()):
        reason = f"{reason[: LONGEST_TEXT - len(_BRANCH_UNKNOWN)]}{_BRANCH_UNKNOWN}"
    return refuse_run(run, ending.state, reason, ending.failure, ending.phase_id)


def refuse_run(
    run: Run, state: RunState, reason: str, failure: FailureClass | None, phase_id: str | None = None
) -> RunFailed:
    """The terminal event, with what a reader looks at first."""
    phase = next((p for p in run.phases if p.spec.phase_id == phase_id), None)
    last = phase.feedback[-1] if phase and phase.feedback else None
    failed = RunFailed(
        state=state,
        head_commit=run.head,
        tokens_used=run.tokens_used,
        tokens_are_lower_bound=run.tokens_are_lower_bound,
        ci_runs_used=run.ci_runs_used,
        reason=reason[:LONGEST_TEXT],
        incident=Incident(
            phase_id=phase_id,
            stage=last.stage if last else None,
            failure=failure,
            last_attempt=phase.attempt if phase else 0,
        ),
    )
    feedback = phase.feedback if phase else ()
    details = (f"attempt {f.attempt}, {f.stage}: {f.summary}"[:LONGEST_TEXT] for f in feedback)
    return with_details(failed, tuple(details))
