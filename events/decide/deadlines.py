"""The deadlines of a run: every wait has one, so that every run comes to an end."""

from datetime import datetime, timedelta

from msgspec import Struct

from events.decide.limits import end_of_time
from events.decide.queue import next_in_line
from events.families.time import DeadlineKind
from events.state import Ending, Project, RequestKind, Run

ANSWER_GRACE = timedelta(seconds=30)
"""How long after its claim's limit a request waits for the answer."""
ENDING_PATIENCE = timedelta(seconds=5)
"""How long an ending run waits for the usage of revoked work."""
INTEGRATION_PATIENCE = timedelta(hours=1)
"""How long an ending run waits to know where its branch stands."""


class Deadline(Struct, frozen=True):
    """A moment at which the supervisor submits DeadlinePassed."""

    run_id: str
    kind: DeadlineKind
    due_at: datetime
    request_id: str | None = None


def deadlines(run: Run) -> list[Deadline]:
    """Every deadline that stands in a run now."""
    if run.ending is not None:
        return _ending_deadlines(run, run.ending)
    if run.started_at is None:
        return []
    end = end_of_time(run)
    found = [] if end is None else [Deadline(run.run_id, DeadlineKind.RUN, end)]
    return found + _request_deadlines(run)


def _request_deadlines(run: Run) -> list[Deadline]:
    """An integration is never revoked: git alone knows whether it landed."""
    return [
        Deadline(
            run.run_id,
            DeadlineKind.REQUEST,
            request.claim.at + timedelta(seconds=request.claim.limit_seconds) + ANSWER_GRACE,
            request.id,
        )
        for request in run.requests
        if request.stands and request.claim is not None and request.kind is not RequestKind.INTEGRATION
    ]


def _ending_deadlines(run: Run, ending: Ending) -> list[Deadline]:
    found = []
    if not ending.patience_over:
        found.append(Deadline(run.run_id, DeadlineKind.ENDING, ending.at + ENDING_PATIENCE))
    if not ending.integration_patience_over:
        found.append(Deadline(run.run_id, DeadlineKind.INTEGRATION, ending.at + INTEGRATION_PATIENCE))
    return found


def turn(project: Project, runs_at_once: int | None) -> Deadline | None:
    """The turn of the first waiting run that may begin: it has come already, and the next step begins the run.

    A step begins one waiting run, so others may be left that could begin as well, and nothing else need ever
    happen in their project.
    """
    run_id = next_in_line(project, runs_at_once)
    return None if run_id is None else Deadline(run_id, DeadlineKind.TURN, project.runs[run_id].requested_at)


def earliest_deadline(project: Project, runs_at_once: int | None = None) -> Deadline | None:
    """The next moment at which something must be done in a project."""
    standing = [d for run in project.runs.values() for d in deadlines(run)]
    if (next_turn := turn(project, runs_at_once)) is not None:
        standing.append(next_turn)
    return min(standing, key=lambda d: d.due_at, default=None)
