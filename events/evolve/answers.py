"""How a phase changes by the answer to a request."""

from typing import assert_never

from msgspec.structs import replace

from events.evolve.changes import answered, set_back, spent, with_phase
from events.evolve.feedback import told
from events.families.apply import PatchAccepted, PatchRejected
from events.families.audit import AuditCompleted, AuditFailed, Recommendation
from events.families.base import CheckFeedback, Feedback
from events.families.build import BuildFailed, BuildSucceeded
from events.families.failure import FailureClass
from events.families.integrate import IntegrationFailed, SnapshotCreated
from events.families.phase import PhaseFailure
from events.families.verify import CheckOutcome, ChecksFailed, ChecksPassed
from events.state import Candidate, Run, Setback
from events.states import PhaseState

AGENT_ANSWERS = (BuildSucceeded, BuildFailed, AuditCompleted, AuditFailed)
MOST_PATCHES = 100
"""Patches one upon another; every request for them names them all."""
FeedbackSource = BuildFailed | AuditCompleted | AuditFailed | PatchRejected | ChecksFailed | IntegrationFailed


def evolve_answer(
    run: Run,
    data: FeedbackSource | BuildSucceeded | PatchAccepted | ChecksPassed | SnapshotCreated,
) -> Run:
    """Fold an answer into its run. The answer to a revoked request only settles what was used."""
    revoked = not run.open[data.request_id].stands
    run = spent(answered(run, data.request_id, data.usage), data.phase_id, data.usage, data.attempt)
    if isinstance(data, AGENT_ANSWERS) and data.usage.tokens is None:
        run = replace(run, usage_unknown=True)
    if revoked:
        return run
    match data:
        case BuildSucceeded():
            return _built(run, data)
        case AuditCompleted():
            return _audited(run, data)
        case AuditFailed():
            return _audit_failed(run, data)
        case PatchAccepted():
            return _accepted(run, data)
        case ChecksPassed():
            return _checked(run, data)
        case SnapshotCreated():
            run = replace(run, head=data.commit, branch_exists=True)
            return with_phase(run, data.phase_id, commit=data.commit, tag=data.tag)
        case IntegrationFailed():
            return _not_integrated(run, data)
        case BuildFailed():
            run = with_phase(run, data.phase_id, state=PhaseState.EXECUTING)
            return set_back(run, data.phase_id, data.failure, data.reason, feedback_of(data))
        case PatchRejected() | ChecksFailed():
            return set_back(run, data.phase_id, data.failure, data.reason, feedback_of(data))
        case _:
            assert_never(data)


def _built(run: Run, data: BuildSucceeded) -> Run:
    return with_phase(
        run,
        data.phase_id,
        state=PhaseState.GATE,
        patches=(data.patch,),
        probes=data.probes,
        review_asked=data.needs_review,
    )


def _audited(run: Run, data: AuditCompleted) -> Run:
    phase = run.phase(data.phase_id)
    if data.recommendation is Recommendation.APPROVE:
        return with_phase(run, data.phase_id, approval=phase.audited)
    feedback = told(phase.feedback, feedback_of(data))
    if data.recommendation is Recommendation.ESCALATE:
        setback = Setback(PhaseFailure.ESCALATED, FailureClass.BAD_ANSWER, _escalation(data), final=True)
        return with_phase(run, data.phase_id, setback=setback, feedback=feedback)
    patches = (*phase.patches, *data.suggested_patches)
    if data.suggested_patches and len(patches) <= MOST_PATCHES:
        return with_phase(run, data.phase_id, patches=patches, candidate=None, feedback=feedback)
    reason = "the auditor asks for a revision"
    setback = Setback(PhaseFailure.OUT_OF_ATTEMPTS, FailureClass.BAD_ANSWER, reason)
    return with_phase(run, data.phase_id, setback=setback, feedback=feedback)


def _escalation(data: AuditCompleted) -> str:
    said = "; ".join(f.message for f in data.findings if f.message)
    return f"escalated by the auditor: {said}"[:4000] if said else "escalated by the auditor"


def _audit_failed(run: Run, data: AuditFailed) -> Run:
    """A failed audit is no verdict: another audit follows while there are attempts, else it counts as revise."""
    if data.failure.is_environment:
        return set_back(run, data.phase_id, data.failure, data.reason, feedback_of(data))
    return run


def _accepted(run: Run, data: PatchAccepted) -> Run:
    phase = run.phase(data.phase_id)
    if phase.apply_order is None:
        raise ValueError(f"PatchAccepted for {data.phase_id} without an ApplyRequested")
    candidate = Candidate(
        commit=data.candidate,
        tree=data.tree,
        parent=data.parent,
        origin_request_id=phase.apply_order.request_id,
        origin_requested_at=phase.apply_order.requested_at,
        concerns=data.concerns,
    )
    return with_phase(run, data.phase_id, candidate=candidate)


def _checked(run: Run, data: ChecksPassed) -> Run:
    candidate = run.phase(data.phase_id).candidate
    if candidate is None or candidate.commit != data.candidate:
        return run
    return with_phase(run, data.phase_id, candidate=replace(candidate, checked=True))


def _not_integrated(run: Run, data: IntegrationFailed) -> Run:
    """A moved head is nobody's failure: the candidate is made again on the new one.

    A head that is said to have moved to where it was known to be is a failure: else it might go on so for ever.
    """
    elsewhere = data.head != run.head or not run.branch_exists
    if data.failure is FailureClass.MOVED and data.head is not None and elsewhere:
        run = replace(run, head=data.head, branch_exists=True)
        return with_phase(run, data.phase_id, candidate=None, state=PhaseState.GATE)
    return set_back(run, data.phase_id, data.failure, data.reason, feedback_of(data))


def feedback_of(data: FeedbackSource) -> Feedback:
    """What the next attempt is told."""
    match data:
        case BuildFailed():
            return Feedback(attempt=data.attempt, stage="build", summary=data.reason)
        case AuditCompleted():
            summary = f"the auditor said {data.recommendation}"
            return Feedback(attempt=data.attempt, stage="audit", summary=summary, findings=data.findings)
        case AuditFailed():
            return Feedback(attempt=data.attempt, stage="audit", summary=data.reason)
        case PatchRejected():
            return Feedback(attempt=data.attempt, stage="apply", summary=data.reason, violations=data.violations)
        case ChecksFailed():
            return Feedback(attempt=data.attempt, stage="checks", summary=data.reason, checks=_red_checks(data))
        case IntegrationFailed():
            return Feedback(attempt=data.attempt, stage="integration", summary=data.reason)
        case _:
            assert_never(data)


def _red_checks(data: ChecksFailed) -> tuple[CheckFeedback, ...]:
    return tuple(
        CheckFeedback(name=check.name, outcome=check.outcome, output=check.output)
        for check in data.checks
        if check.outcome is not CheckOutcome.PASSED
    )
