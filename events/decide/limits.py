"""The caps of a run, its tiers and its attempts: tokens, money, phases, checks. Passing one of the run ends it."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from events.families.budget import BudgetExceeded, BudgetKind
from events.plan import SafetyProfile
from events.state import Phase, Run
from events.states import TierState


def limit_passed(run: Run) -> Iterator[BudgetExceeded]:
    """More was used than the run may use."""
    if run.request.token_cap is not None and run.tokens_used > run.request.token_cap:
        yield _exceeded(BudgetKind.TOKENS, run.request.token_cap, run.tokens_used)
    if run.request.max_cost_usd is not None and run.cost_usd > run.request.max_cost_usd:
        yield _exceeded(BudgetKind.COST, run.request.max_cost_usd, run.cost_usd)


def nothing_left(run: Run) -> Iterator[BudgetExceeded]:
    """An agent would have to work on an empty budget: its request is not sent."""
    if run.request.token_cap is not None and run.tokens_used >= run.request.token_cap:
        yield _exceeded(BudgetKind.TOKENS, run.request.token_cap, run.tokens_used)
    if run.request.max_cost_usd is not None and run.cost_usd >= run.request.max_cost_usd:
        yield _exceeded(BudgetKind.COST, run.request.max_cost_usd, run.cost_usd)


def nothing_left_of_attempt(phase: Phase) -> Iterator[BudgetExceeded]:
    """The builder has left nothing to the auditor of its attempt: their cap is one."""
    cap = phase.strategy.incident_token_cap
    if phase.attempt_tokens >= cap:
        yield _exceeded(BudgetKind.TOKENS, cap, phase.attempt_tokens, "phase", f"phase {phase.spec.phase_id!r}")


def tier_tokens_limit(run: Run, tier_id: str) -> int:
    """Three times what one attempt at each of its phases may use."""
    return 3 * sum(p.strategy.incident_token_cap for p in run.phases if p.spec.tier_id == tier_id)


def tier_checks_limit(run: Run, tier_id: str) -> int:
    """Two rounds of checks for each of its phases."""
    return 2 * sum(p.spec.tier_id == tier_id for p in run.phases)


def tier_tokens_limit_passed(run: Run) -> Iterator[BudgetExceeded]:
    """Where safety is critical, a tier that used too much ends the run; elsewhere it is not clean."""
    for tier in run.tiers if _safety_critical(run) else ():
        limit = tier_tokens_limit(run, tier.tier_id)
        if tier.state is TierState.IN_PROGRESS and tier.tokens_used > limit:
            yield _exceeded(BudgetKind.TOKENS, limit, tier.tokens_used, "tier", f"tier {tier.tier_id!r}")


def tier_checks_limit_passed(run: Run, tier_id: str) -> Iterator[BudgetExceeded]:
    """One more round of checks would begin than a tier may have where safety is critical."""
    limit = tier_checks_limit(run, tier_id)
    used = next(tier.ci_runs_used for tier in run.tiers if tier.tier_id == tier_id) + 1
    if _safety_critical(run) and used > limit:
        yield _exceeded(BudgetKind.CI_RUNS, limit, used, "tier", f"tier {tier_id!r}")


def _safety_critical(run: Run) -> bool:
    return run.request.safety_profile is SafetyProfile.SAFETY_CRITICAL


def phases_limit_passed(run: Run) -> Iterator[BudgetExceeded]:
    """One more phase would begin than the run may have."""
    if run.request.max_phases is not None and run.phases_started >= run.request.max_phases:
        yield _exceeded(BudgetKind.PHASES, run.request.max_phases, run.phases_started + 1)


def end_of_time(run: Run) -> datetime | None:
    """When the run has taken as long as it may; None where it may take for ever, or has not started."""
    if run.started_at is None or run.request.max_duration_minutes is None:
        return None
    return run.started_at + timedelta(minutes=run.request.max_duration_minutes)


def is_nearly_used_up(run: Run, now: datetime) -> bool:
    """Less than a tenth is left of the run's tokens, or of its time."""
    cap, end = run.request.token_cap, end_of_time(run)
    if cap is not None and (cap - run.tokens_used) * 10 < cap:
        return True
    return end is not None and run.started_at is not None and (end - now) * 10 < end - run.started_at


def tokens_left(run: Run, incident_cap: int) -> int:
    """What the next attempt may use: the lesser of its own cap and what the run has left."""
    if run.request.token_cap is None:
        return incident_cap
    return min(incident_cap, run.request.token_cap - run.tokens_used)


def _exceeded(
    kind: BudgetKind, limit: float, used: float, scope: str = "run", whose: str = "the run"
) -> BudgetExceeded:
    passed = "is passed" if used > limit else "is used up"
    reason = f"{whose}'s limit of {limit:.12g} {kind} {passed}: {used:.12g}"
    return BudgetExceeded(scope=scope, kind=kind, limit=limit, used=used, reason=reason)
