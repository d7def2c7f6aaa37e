"""The budget family."""

from enum import StrEnum

from events.families.base import Count, EventData, Identifier, Text, Usage


class BudgetKind(StrEnum):
    """What a limit limits."""

    TOKENS = "tokens"
    COST = "cost"
    PHASES = "phases"
    MINUTES = "minutes"
    CI_RUNS = "ci_runs"
    ISSUES = "issues"


class BudgetReserved(EventData):
    """Tokens set aside for one request."""

    request_id: Identifier
    phase_id: str
    tokens: Count


class BudgetSettled(EventData):
    """What a request used after all, where no admitted answer says so (it came late)."""

    request_id: Identifier
    phase_id: str | None = None
    usage: Usage


class BudgetExceeded(EventData):
    """A limit was passed, and the run ends of it; `scope` is `run`, `tier` or `phase`."""

    scope: str
    kind: BudgetKind
    limit: float
    used: float
    reason: Text
