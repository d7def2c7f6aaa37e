"""One row a tier that its run handles."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from events.catalogue import AnyEventData
from events.families.apply import PatchAccepted, PatchRejected
from events.families.audit import AuditCompleted, AuditFailed
from events.families.budget import BudgetSettled
from events.families.build import BuildFailed, BuildSucceeded
from events.families.integrate import IntegrationFailed, SnapshotCreated
from events.families.issue import IssueRecorded
from events.families.run import RunAccepted, RunRequested
from events.families.tier import TierCompleted, TierStarted
from events.families.verify import ChecksFailed, ChecksPassed, ChecksRequested
from events.plan import phases_in_order, tiers_in_order
from events.states import TierState
from projections.content_ids import tier_row_id
from projections.issue_counts import MAJOR, MINOR, count, with_issue
from projections.naming import phase_named, tier_named
from projections.projection import Entry, Key, Projection
from projections.usage import more, tokens_of


class TierRow(Struct, frozen=True):
    """A tier. `state` is None until its run is accepted: till then it is only asked for."""

    project: str
    run_id: str
    tier_id: str
    id: int
    tier_index: int
    name: str
    description: str | None
    phase_ids: Sequence[str]
    state: str | None = None
    cleanliness: str = "clean"
    tokens_used: int = 0
    ci_runs_used: int = 0
    minor_issues: int = 0
    major_issues: int = 0
    token_limit_exceeded: bool = False
    ci_run_limit_exceeded: bool = False
    started_at: datetime | None = None
    completed_at: datetime | None = None
    issues: Mapping[str, str] | None = None


def project(rows: Mapping[Key, TierRow], entry: Entry) -> Iterable[TierRow]:
    """The rows of tiers that change by an event."""
    data = entry.data
    if isinstance(data, RunRequested):
        return _requested(entry, data)
    if isinstance(data, RunAccepted):
        return [replace(row, state=TierState.PENDING) for row in rows.values()]
    row = _concerned(rows, data)
    return [] if row is None else [_changed(row, entry)]


def _requested(entry: Entry, data: RunRequested) -> list[TierRow]:
    phases = phases_in_order(data)
    return [
        TierRow(
            project=entry.project,
            run_id=entry.run_id,
            tier_id=tier.tier_id,
            id=tier_row_id(entry.project, entry.run_id, tier.tier_id),
            tier_index=tier.tier_index,
            name=tier.name,
            description=tier.description,
            phase_ids=[phase.phase_id for phase in phases if phase.tier_id == tier.tier_id],
            issues={},
        )
        for tier in tiers_in_order(data)
    ]


def _concerned(rows: Mapping[Key, TierRow], data: AnyEventData) -> TierRow | None:
    """The tier that the event names, or that holds the phase which it names."""
    tier_id = tier_named(data)
    phase_id = phase_named(data)
    found = (row for row in rows.values() if row.tier_id == tier_id or phase_id in row.phase_ids)
    return next(found, None)


def _changed(row: TierRow, entry: Entry) -> TierRow:
    data = entry.data
    match data:
        case TierStarted():
            return replace(row, state=TierState.IN_PROGRESS, started_at=entry.at)
        case TierCompleted():
            return replace(
                row,
                state=data.state,
                cleanliness=data.cleanliness,
                token_limit_exceeded=data.token_limit_exceeded,
                ci_run_limit_exceeded=data.ci_run_limit_exceeded,
                completed_at=entry.at,
            )
        case ChecksRequested():
            return replace(row, ci_runs_used=row.ci_runs_used + 1)
        case IssueRecorded():
            issues = with_issue(row.issues or {}, data.issue_key, data.effective_severity)
            return replace(
                row, issues=issues, minor_issues=count(issues, MINOR), major_issues=count(issues, MAJOR)
            )
        case _:
            return replace(row, tokens_used=more(row.tokens_used, tokens_of(data)))


TIERS: Projection[TierRow] = Projection(
    name="tiers",
    version=1,
    row=TierRow,
    key=("project", "run_id", "tier_id"),
    wanted=frozenset(
        {
            RunRequested,
            RunAccepted,
            TierStarted,
            TierCompleted,
            ChecksRequested,
            IssueRecorded,
            BuildSucceeded,
            BuildFailed,
            AuditCompleted,
            AuditFailed,
            PatchAccepted,
            PatchRejected,
            ChecksPassed,
            ChecksFailed,
            SnapshotCreated,
            IntegrationFailed,
            BudgetSettled,
        }
    ),
    project=project,
    bulky={"description": None, "phase_ids": ()},
)
