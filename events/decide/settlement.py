"""Usage that came late: an answer that nobody waits for any more, from an agent that was paid all the same."""

from events.decide.verdicts import Reason, Rejection
from events.event import Event
from events.evolve.answers import AGENT_ANSWERS
from events.families.budget import BudgetSettled
from events.state import Project


def late_usage(project: Project, submitted: Event, rejection: Rejection) -> BudgetSettled | None:
    """What a refused answer says was used, where it is known and was not settled before."""
    data = submitted.data
    if rejection.reason not in (Reason.REVOKED, Reason.RUN_ENDED):
        return None
    if not isinstance(data, AGENT_ANSWERS) or data.usage.tokens is None:
        return None
    phase_id = _unsettled(project, submitted.run_id).get(data.request_id)
    if phase_id is None:
        return None
    return BudgetSettled(request_id=data.request_id, phase_id=phase_id, usage=data.usage)


def _unsettled(project: Project, run_id: str) -> dict[str, str]:
    """The phases of the requests whose usage is still owed, by request."""
    run = project.runs.get(run_id)
    ended = project.ended.get(run_id)
    return dict(run.unsettled if run else ended.unsettled if ended else ())
