"""Usage that came late: an answer that nobody waits for any more, from an agent that was paid all the same."""

from msgspec import Struct

from events.decide.verdicts import Reason, Rejection
from events.event import Event
from events.evolve.answers import AGENT_ANSWERS
from events.families.budget import BudgetSettled
from events.state import Owed, Project

_WITHOUT_EFFECT = (Reason.REVOKED, Reason.RUN_ENDED, Reason.ALREADY_ANSWERED, Reason.WRONG_ANSWER)


class LateUsage(Struct, frozen=True):
    """What is to be written down, and what its request owed before."""

    settled: BudgetSettled
    owed: Owed


def late_usage(project: Project, submitted: Event, rejection: Rejection) -> LateUsage | None:
    """What a refused answer says was used, where it is known and its request still owes a report.

    The same usage again is taken for the same report.
    """
    data = submitted.data
    if rejection.reason not in _WITHOUT_EFFECT or not isinstance(data, AGENT_ANSWERS):
        return None
    usage = data.usage
    if usage.tokens is None and usage.cost_usd is None:
        return None
    owed = _owed(project, submitted.run_id, data.request_id)
    if owed is None or usage in owed.known:
        return None
    return LateUsage(BudgetSettled(request_id=data.request_id, phase_id=owed.phase_id, usage=usage), owed)


def _owed(project: Project, run_id: str, request_id: str) -> Owed | None:
    """The reports that a request still owes, in a run that goes on or has ended."""
    run = project.runs.get(run_id)
    ended = project.ended.get(run_id)
    unsettled = run.unsettled if run else ended.unsettled if ended else ()
    return next((owed for owed in unsettled if owed.request_id == request_id), None)
