"""The deadlines of a run: every wait has one, so that every run comes to an end."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from events.families.time import DeadlineKind
from events.state import Ending, Project, RequestKind, Run

ANSWER_GRACE = timedelta(seconds=30)
"""How long after its claim's limit a request waits for the answer."""
ENDING_PATIENCE = timedelta(seconds=5)
"""How long an ending run waits for the usage of revoked work."""
INTEGRATION_PATIENCE = timedelta(hours=1)
"""How long an ending run waits to know where its branch stands."""


@dataclass(frozen=True, slots=True)
class Deadline:
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
    found = []
    if run.request.max_duration_minutes is not None:
        due_at = run.started_at + timedelta(minutes=run.request.max_duration_minutes)
        found.append(Deadline(run.run_id, DeadlineKind.RUN, due_at))
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


def earliest_deadline(project: Project) -> Deadline | None:
    """The next moment at which something must be done in a project."""
    standing = (d for run in project.runs.values() for d in deadlines(run))
    return min(standing, key=lambda d: d.due_at, default=None)
