"""Which events say what a piece of work cost."""

from events.catalogue import AnyEventData
from events.families.apply import PatchAccepted, PatchRejected
from events.families.audit import AuditCompleted, AuditFailed
from events.families.base import LARGEST_COUNT, Usage
from events.families.budget import BudgetSettled
from events.families.build import BuildFailed, BuildSucceeded
from events.families.integrate import IntegrationFailed, SnapshotCreated
from events.families.verify import ChecksFailed, ChecksPassed

AGENT_ANSWERS = (BuildSucceeded, BuildFailed, AuditCompleted, AuditFailed)
"""Answers whose tokens are unknown, not none, where they do not say."""

_SPENDING: frozenset[type] = frozenset(
    {
        *AGENT_ANSWERS,
        PatchAccepted,
        PatchRejected,
        ChecksPassed,
        ChecksFailed,
        SnapshotCreated,
        IntegrationFailed,
        BudgetSettled,
    }
)


def usage_of(data: AnyEventData) -> Usage | None:
    """What the event says was used, or None where it is not of that kind."""
    return data.__dict__["usage"] if type(data) in _SPENDING else None


def tokens_of(data: AnyEventData) -> int:
    """The tokens that count against budgets; unknown ones count as none."""
    usage = usage_of(data)
    return usage.tokens.total if usage and usage.tokens else 0


def cost_of(data: AnyEventData) -> float:
    """The money that counts against budgets, in US dollars."""
    usage = usage_of(data)
    return (usage.cost_usd or 0.0) if usage else 0.0


def is_unknown(data: AnyEventData) -> bool:
    """An agent did not say how many tokens it used: every total is a lower bound from here on."""
    return isinstance(data, (*AGENT_ANSWERS, BudgetSettled)) and data.usage.tokens is None


def more(counted: int, added: int) -> int:
    """A sum that an event and a table can hold, whatever an agent claims to have used."""
    return min(counted + added, LARGEST_COUNT)
