"""Small changes of a run that several events share."""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from events.evolve.feedback import told
from events.families.base import LARGEST_COUNT, Feedback, Usage
from events.families.budget import BudgetSettled
from events.families.failure import FailureClass
from events.families.phase import PhaseFailure
from events.state import OpenRequest, Owed, Phase, Run, Setback, Tier


def with_phase(run: Run, phase_id: str, **changes: Any) -> Run:
    """The run with one phase changed."""
    phases = tuple(replace(p, **changes) if p.spec.phase_id == phase_id else p for p in run.phases)
    return replace(run, phases=phases)


def with_tier(run: Run, tier_id: str, **changes: Any) -> Run:
    """The run with one tier changed."""
    tiers = tuple(replace(t, **changes) if t.tier_id == tier_id else t for t in run.tiers)
    return replace(run, tiers=tiers)


def tier_of(run: Run, phase: Phase) -> Tier:
    """The tier that a phase belongs to."""
    return next(t for t in run.tiers if t.tier_id == phase.spec.tier_id)


def opened(run: Run, request: OpenRequest) -> Run:
    """The run with one more request open."""
    return replace(run, open=run.open.set(request.id, request))


def answered(run: Run, request_id: str, usage: Usage | None = None) -> Run:
    """The run after an answer: the request is open no longer, and stays known as answered.

    Where several had claimed it, the others may still report what they used.
    """
    owed = settled((run.open[request_id].owed,), request_id, usage or Usage())
    return replace(
        run,
        open=run.open.delete(request_id),
        answered=run.answered.set(request_id, True),
        owed=(*run.owed, *owed),
    )


def settled(owed: Iterable[Owed | None], request_id: str, usage: Usage) -> tuple[Owed, ...]:
    """What is owed after a report on one request."""
    after = (o.reported(usage) if o and o.request_id == request_id else o for o in owed)
    return tuple(o for o in after if o and o.reports > 0)


def settle(run: Run, data: BudgetSettled) -> Run:
    """The run after a report that came with a refused answer; what stands still waits for a right one."""
    request = run.open.get(data.request_id)
    owed = next((owed for owed in run.unsettled if owed.request_id == data.request_id), None)
    if request is None:
        run = replace(run, owed=settled(run.owed, data.request_id, data.usage))
    elif request.stands:
        reported = replace(request, settled=(*request.settled, data.usage))
        run = replace(run, open=run.open.set(request.id, reported))
    else:
        run = answered(run, data.request_id, data.usage)
    return spent(run, data.phase_id, data.usage, owed.attempt if owed else 0)


def spent(run: Run, phase_id: str | None, usage: Usage, attempt: int) -> Run:
    """The run, the phase and its tier charged with what was used, and the attempt if it is the current one.

    Tokens that an agent did not report are unknown: they count as nothing and make the totals a lower bound.
    """
    total = usage.tokens.total if usage.tokens else 0
    cost_usd = run.cost_usd + (usage.cost_usd or 0.0)
    run = replace(run, tokens_used=_more(run.tokens_used, total), cost_usd=cost_usd)
    if phase_id is None or not total:
        return run
    phase = run.phase(phase_id)
    in_attempt = _more(phase.attempt_tokens, total if attempt == phase.attempt else 0)
    run = with_phase(run, phase_id, tokens_used=_more(phase.tokens_used, total), attempt_tokens=in_attempt)
    tier = tier_of(run, phase)
    return with_tier(run, tier.tier_id, tokens_used=_more(tier.tokens_used, total))


def _more(counted: int, added: int) -> int:
    """A sum that an event can still hold, whatever an agent claims to have used."""
    return min(counted + added, LARGEST_COUNT)


def set_back(run: Run, phase_id: str, failure: FailureClass, reason: str, feedback: Feedback) -> Run:
    """The phase after a failed attempt: what the next one is told, and whether there can be one."""
    phase = run.phase(phase_id)
    setback = Setback(_cause(failure), failure, reason, final=failure.is_environment)
    return with_phase(run, phase_id, setback=setback, feedback=told(phase.feedback, feedback))


def _cause(failure: FailureClass) -> PhaseFailure:
    if failure is FailureClass.VIOLATIONS:
        return PhaseFailure.POLICY_VIOLATION
    return PhaseFailure.ENVIRONMENT if failure.is_environment else PhaseFailure.OUT_OF_ATTEMPTS
