"""The caps of a run: tokens, money, phases. Passing one ends the run."""

from collections.abc import Iterator

from events.families.budget import BudgetExceeded, BudgetKind
from events.state import Run


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


def phases_limit_passed(run: Run) -> Iterator[BudgetExceeded]:
    """One more phase would begin than the run may have."""
    if run.request.max_phases is not None and run.phases_started >= run.request.max_phases:
        yield _exceeded(BudgetKind.PHASES, run.request.max_phases, run.phases_started + 1)


def tokens_left(run: Run, incident_cap: int) -> int:
    """What the next attempt may use: the lesser of its own cap and what the run has left."""
    if run.request.token_cap is None:
        return incident_cap
    return min(incident_cap, run.request.token_cap - run.tokens_used)


def _exceeded(kind: BudgetKind, limit: float, used: float) -> BudgetExceeded:
    passed = "is passed" if used > limit else "is used up"
    reason = f"the run's limit of {limit:.12g} {kind} {passed}: {used:.12g}"
    return BudgetExceeded(scope="run", kind=kind, limit=limit, used=used, reason=reason)
