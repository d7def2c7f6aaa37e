"""What is due in a phase, from its first build to its snapshot.

No patch: a build. A patch that needs an approval and has none: an audit. No candidate on the head: an
apply. No green checks on the candidate: checks. Then the integration, and the phase is complete.
"""

from collections.abc import Iterator
from datetime import datetime

from events.catalogue import AnyEventData
from events.configuration import Check, Preparation
from events.decide.endings import phase_completed
from events.decide.limits import (
    end_of_time,
    is_nearly_used_up,
    nothing_left,
    nothing_left_of_attempt,
    tier_checks_limit_passed,
    tokens_left,
)
from events.decide.room import with_feedback, within_limit
from events.evolve.feedback import told
from events.families.apply import ApplyRequested, CandidateOrigin
from events.families.audit import AuditRequested
from events.families.base import LONGEST_SECONDS, LONGEST_TEXT, Feedback
from events.families.build import BuildRequested
from events.families.failure import FailureClass
from events.families.integrate import IntegrationRequested
from events.families.phase import PhaseFailed, PhaseFailure
from events.families.run import Strategy
from events.families.verify import ChecksRequested
from events.playbook import checks_of
from events.refs import integration_branch, snapshot_tag
from events.state import Approval, Candidate, Phase, RequestKind, Run, Setback

CHECKS_OVERHEAD_SECONDS = 120.0
"""Time for making the work tree, beside the checks themselves."""


def phase_due(run: Run, phase: Phase, now: datetime) -> Iterator[AnyEventData]:
    """The next event of a phase that has begun, waits for no answer, and has not ended."""
    if phase.setback is not None:
        yield from _after_setback(run, phase, phase.setback, now)
    elif phase.commit is not None:
        yield phase_completed(phase)
    elif not phase.patches:
        yield from _build(run, phase, 1, now)
    elif run.request.repository is None:
        yield _failed(phase, _NO_REPOSITORY)
    elif _needs_approval(run, phase):
        yield from _audit(run, phase, now)
    else:
        yield from _towards_the_branch(run, phase, now)


_NO_REPOSITORY = Setback(
    PhaseFailure.ENVIRONMENT, FailureClass.REPOSITORY_MISSING, "a patch came for a run without a repository"
)


def _after_setback(run: Run, phase: Phase, setback: Setback, now: datetime) -> Iterator[AnyEventData]:
    if setback.final or phase.attempt >= phase.strategy.builder_attempts:
        yield _failed(phase, setback)
    else:
        yield from _build(run, phase, phase.attempt + 1, now)


def _failed(phase: Phase, setback: Setback) -> PhaseFailed:
    return PhaseFailed(
        phase_id=phase.spec.phase_id,
        cause=setback.cause,
        failure=setback.failure,
        reason=setback.reason,
        attempts=phase.attempt,
        audits=phase.audits_in_all,
        tokens_used=phase.tokens_used,
    )


def _build(
    run: Run, phase: Phase, attempt: int, now: datetime, feedback: tuple[Feedback, ...] = ()
) -> Iterator[AnyEventData]:
    yield from nothing_left(run)
    prepare, preparing_seconds = _preparation(run)
    request = BuildRequested(
        phase_id=phase.spec.phase_id,
        attempt=attempt,
        spec=phase.spec,
        repository=run.request.repository,
        base_commit=run.head,
        tokens_left=tokens_left(run, phase.strategy.incident_token_cap),
        seconds_left=_seconds_left(run, now),
        limit_seconds=min(_strategy(run).limits.builder_seconds + preparing_seconds, LONGEST_SECONDS),
        agent=run.request.agents.builder,
        prepare=prepare,
        prepare_at=run.base_commit if prepare else None,
    )
    yield with_feedback(request, feedback or phase.feedback)


def _preparation(run: Run) -> tuple[Preparation | None, float]:
    """What is prepared before agents and checks work, and the seconds that it may take."""
    prepare = run.configuration.prepare if run.configuration else None
    return prepare, prepare.timeout_seconds if prepare else 0.0


def _seconds_left(run: Run, now: datetime) -> float | None:
    end = end_of_time(run)
    # Where the end has come and nobody has said so, its deadline is on its way, or the log's clock has jumped.
    # Work that is given no time at all would fail for nothing; the deadline ends it when it is said.
    return (end - now).total_seconds() if end is not None and now < end else None


def _strategy(run: Run) -> Strategy:
    if run.strategy is None:
        raise ValueError(f"run {run.run_id} has no strategy yet")
    return run.strategy


def _needs_approval(run: Run, phase: Phase) -> bool:
    """Where category or builder ask for one, or the candidate raises concerns; bound to head and patches."""
    concerns = phase.candidate is not None and bool(phase.candidate.concerns)
    if not (phase.strategy.audit_required or phase.review_asked or concerns):
        return False
    return phase.approval != Approval(run.head, phase.patches)


def _audit(run: Run, phase: Phase, now: datetime) -> Iterator[AnyEventData]:
    audits = _audits_on_head(run, phase)
    if audits >= phase.strategy.auditor_attempts:
        yield from _unapproved(run, phase, now)
        return
    yield from nothing_left(run)
    yield from nothing_left_of_attempt(phase)
    request = AuditRequested(
        phase_id=phase.spec.phase_id,
        attempt=phase.attempt,
        audit=audits + 1,
        spec=phase.spec,
        repository=run.request.repository,
        base_commit=run.head,
        patches=phase.patches,
        concerns=phase.candidate.concerns if phase.candidate else (),
        probes=phase.probes,
        auditor_profile=phase.strategy.auditor_profile,
        focus=_focus(phase),
        context=_went_before(phase),
        tokens_left=tokens_left(run, phase.strategy.incident_token_cap - phase.attempt_tokens),
        limit_seconds=_strategy(run).limits.auditor_seconds,
        agent=run.request.agents.auditor,
    )
    yield within_limit(request)


def _focus(phase: Phase) -> str:
    """What the profile is about: of `schema_review` the schema."""
    return (phase.strategy.auditor_profile or "general").removesuffix("_review")


def _went_before(phase: Phase) -> str:
    """Why earlier attempts failed, as much as fits: an auditor knows then what a change answers to."""
    text = "\n".join(_failures(phase))
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _failures(phase: Phase) -> Iterator[str]:
    """A line each for earlier attempts, the latest first, and for what was found in them."""
    for told_of in reversed(phase.feedback):
        yield f"Attempt {told_of.attempt} failed at {told_of.stage}: {told_of.summary}"
        for finding in told_of.findings:
            place = f" in {finding.path}" if finding.path else ""
            yield f"  {finding.severity}{place}: {finding.message}"


def _audits_on_head(run: Run, phase: Phase) -> int:
    """Audits of this attempt; a head that others moved asks for a new one, and is nobody's failure."""
    return phase.audits if phase.audited is not None and phase.audited.base == run.head else 0


def _unapproved(run: Run, phase: Phase, now: datetime) -> Iterator[AnyEventData]:
    """With no audit left, what is not approved counts as a demand to revise."""
    reason = f"not approved within {phase.strategy.auditor_attempts} audits"
    setback = Setback(PhaseFailure.OUT_OF_ATTEMPTS, FailureClass.BAD_ANSWER, reason)
    if phase.attempt >= phase.strategy.builder_attempts:
        yield _failed(phase, setback)
        return
    feedback = Feedback(attempt=phase.attempt, stage="audit", summary=reason)
    yield from _build(run, phase, phase.attempt + 1, now, told(phase.feedback, feedback))


def _towards_the_branch(run: Run, phase: Phase, now: datetime) -> Iterator[AnyEventData]:
    candidate = phase.candidate
    if candidate is None or candidate.parent != run.head:
        yield _apply(run, phase)
    elif _strategy(run).checks is not None and not candidate.checked:
        yield from tier_checks_limit_passed(run, phase.spec.tier_id)
        yield _checks(run, phase, candidate, now)
    elif not any(r.stands and r.kind is RequestKind.INTEGRATION for r in run.open.values()):
        yield _integration(run, phase, candidate)


def _apply(run: Run, phase: Phase) -> ApplyRequested:
    strategy = _strategy(run)
    return ApplyRequested(
        phase_id=phase.spec.phase_id,
        attempt=phase.attempt,
        title=phase.spec.name,
        repository=run.request.repository,
        parent=run.head,
        patches=phase.patches,
        scope=phase.spec.scope,
        allow=phase.spec.allow,
        protected=strategy.protected,
        limit_seconds=strategy.limits.apply_seconds,
    )


def _origin(phase: Phase, candidate: Candidate) -> CandidateOrigin:
    return CandidateOrigin(
        request_id=candidate.origin_request_id,
        requested_at=candidate.origin_requested_at,
        attempt=phase.attempt,
        title=phase.spec.name,
        parent=candidate.parent,
        patches=phase.patches,
    )


def checks_asked(run: Run, phase: Phase) -> tuple[Check, ...]:
    """The checks that a phase's candidates have to pass."""
    strategy = _strategy(run)
    if strategy.checks is None:
        raise ValueError(f"run {run.run_id} has no checks")
    return checks_of(strategy.checks, phase.strategy.ci_profile)


def _checks(run: Run, phase: Phase, candidate: Candidate, now: datetime) -> ChecksRequested:
    strategy = _strategy(run)
    checks = checks_asked(run, phase)
    limits = strategy.limits
    prepare, preparing_seconds = _preparation(run)
    per_try = sum(c.timeout_seconds + limits.check_try_pause_seconds for c in checks)
    # Near the end of a budget a run fails fast: what is left is not for telling flakes from failures.
    tries = 1 if is_nearly_used_up(run, now) else limits.check_tries
    return ChecksRequested(
        phase_id=phase.spec.phase_id,
        attempt=phase.attempt,
        repository=run.request.repository,
        candidate=candidate.commit,
        tree=candidate.tree,
        base_commit=run.base_commit,
        origin=_origin(phase, candidate),
        profile=phase.strategy.ci_profile,
        checks=checks,
        prepare=prepare,
        tries=tries,
        try_pause_seconds=limits.check_try_pause_seconds,
        limit_seconds=min(per_try * tries + preparing_seconds + CHECKS_OVERHEAD_SECONDS, LONGEST_SECONDS),
    )


def _integration(run: Run, phase: Phase, candidate: Candidate) -> IntegrationRequested:
    return IntegrationRequested(
        phase_id=phase.spec.phase_id,
        tier_id=phase.spec.tier_id,
        attempt=phase.attempt,
        repository=run.request.repository,
        candidate=candidate.commit,
        origin=_origin(phase, candidate),
        branch=integration_branch(run.run_id),
        expected_head=run.head if run.branch_exists else None,
        tag=snapshot_tag(run.run_id, phase.spec.tier_id, phase.spec.phase_id),
        unchecked=_strategy(run).checks is None,
        limit_seconds=_strategy(run).limits.integration_seconds,
    )
