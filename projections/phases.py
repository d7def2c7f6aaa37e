"""One row a phase that its run handles."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from events.catalogue import AnyEventData
from events.families.apply import ApplyRequested, PatchAccepted, PatchRejected
from events.families.audit import AuditCompleted, AuditFailed, AuditRequested
from events.families.base import ArtifactRef
from events.families.budget import BudgetSettled
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.integrate import IntegrationFailed, SnapshotCreated
from events.families.issue import IssueRecorded
from events.families.phase import PhaseCompleted, PhaseFailed, PhaseSkipped, PhaseStarted
from events.families.run import RunAccepted, RunRequested
from events.families.verify import ChecksFailed, ChecksPassed, ChecksRequested
from events.families.work import WorkRevoked, WorkStarted
from events.plan import EXTERNAL, PhaseSpec, dependencies, phases_in_order
from events.states import PhaseState
from projections.content_ids import phase_row_id, tier_row_id
from projections.issue_counts import MAJOR, MINOR, count, issue_state, with_issue
from projections.naming import phase_named, request_named
from projections.progress import PhaseProgress, advance, concerned
from projections.projection import Entry, Key, Projection
from projections.usage import cost_of, is_unknown, more, tokens_of


class PhaseRow(Struct, frozen=True):
    """A phase. `state` is None until its run is accepted; `patches` are those of the current attempt, in order."""

    project: str
    run_id: str
    phase_id: str
    id: int
    tier_id: str
    tier_row_id: int
    position: int
    phase_index: int
    name: str
    description: str | None
    task_category: str | None
    complexity: str | None
    builder_mode: str | None
    scope: Sequence[str] | None
    allow: Sequence[str]
    depends_on: Sequence[str]
    created_at: datetime
    updated_at: datetime
    strategy: Mapping[str, Any] | None = None
    state: str | None = None
    begun: bool = False
    ended: bool = False
    build_request: str | None = None
    builder_attempts: int = 0
    auditor_attempts: int = 0
    ci_runs_used: int = 0
    tokens_used: int = 0
    tokens_lower_bound: bool = False
    cost_usd: float = 0.0
    minor_issues: int = 0
    major_issues: int = 0
    issue_state: str = "no_issues"
    patches: Sequence[Mapping[str, Any]] = ()
    files: Sequence[str] = ()
    lines_added: int = 0
    lines_removed: int = 0
    summary: str = ""
    commit: str | None = None
    tag: str | None = None
    unchecked: bool = False
    cause: str | None = None
    failure: str | None = None
    reason: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    issues: Mapping[str, str] | None = None


def builds_reported(phase: PhaseRow, builder: str | None) -> int:
    """The phase's builds, without one that an external builder is asked for: it counts when it is reported."""
    waits = builder == EXTERNAL and phase.build_request is not None
    return phase.builder_attempts - waits


def project(rows: Mapping[Key, PhaseRow], entry: Entry) -> Iterable[PhaseRow]:
    """The rows of phases that change by an event."""
    data = entry.data
    if isinstance(data, RunRequested):
        return _requested(entry, data)
    if isinstance(data, RunAccepted):
        return _accepted(rows, data)
    return [_changed(row, entry) for row in _suspects(rows, entry) if _is_concerned(row, entry)]


def _suspects(rows: Mapping[Key, PhaseRow], entry: Entry) -> Iterable[PhaseRow]:
    """A plan may have hundreds of phases: where an event names its phase, no other is looked at."""
    phase_id = phase_named(entry.data)
    if phase_id is None:
        return rows.values()
    row = rows.get((entry.project, entry.run_id, phase_id))
    return () if row is None else (row,)


def _is_concerned(row: PhaseRow, entry: Entry) -> bool:
    return concerned(entry.event, row.phase_id, _progress(row))


def _requested(entry: Entry, data: RunRequested) -> list[PhaseRow]:
    needs = dependencies(data)
    return [_fresh(entry, spec, i, needs[spec.phase_id]) for i, spec in enumerate(phases_in_order(data))]


def _fresh(entry: Entry, spec: PhaseSpec, position: int, depends_on: Sequence[str]) -> PhaseRow:
    return PhaseRow(
        project=entry.project,
        run_id=entry.run_id,
        phase_id=spec.phase_id,
        id=phase_row_id(entry.project, entry.run_id, spec.phase_id),
        tier_id=spec.tier_id,
        tier_row_id=tier_row_id(entry.project, entry.run_id, spec.tier_id),
        position=position,
        phase_index=spec.phase_index,
        name=spec.name,
        description=spec.description,
        task_category=spec.task_category,
        complexity=spec.complexity,
        builder_mode=spec.builder_mode,
        scope=spec.scope,
        allow=spec.allow,
        depends_on=depends_on,
        created_at=entry.at,
        updated_at=entry.at,
        issues={},
    )


def _accepted(rows: Mapping[Key, PhaseRow], data: RunAccepted) -> list[PhaseRow]:
    strategies = {strategy.phase_id: strategy for strategy in data.strategy.phases}
    return [
        replace(row, state=PhaseState.QUEUED, strategy=strategies[row.phase_id].model_dump(mode="json"))
        for row in rows.values()
    ]


def _progress(row: PhaseRow) -> PhaseProgress:
    state = PhaseState(row.state) if row.state else PhaseState.QUEUED
    return PhaseProgress(state, row.begun, row.ended, row.build_request)


def _changed(row: PhaseRow, entry: Entry) -> PhaseRow:
    data = entry.data
    revoked = row.build_request != request_named(data)
    row = replace(
        row,
        **asdict(advance(_progress(row), entry.event)),
        updated_at=entry.at,
        tokens_used=more(row.tokens_used, tokens_of(data)),
        cost_usd=row.cost_usd + cost_of(data),
        tokens_lower_bound=row.tokens_lower_bound or is_unknown(data),
    )
    match data:
        case PhaseStarted():
            return replace(row, started_at=entry.at)
        case PhaseCompleted() | PhaseFailed() | PhaseSkipped():
            return _ended(row, entry, data)
        case BuildSucceeded() if revoked:
            return row
        case _:
            return _worked(row, data)


def _worked(row: PhaseRow, data: AnyEventData) -> PhaseRow:
    match data:
        case BuildRequested():
            return replace(row, builder_attempts=data.attempt, patches=())
        case BuildSucceeded():
            return _built(row, data)
        case AuditRequested():
            return replace(row, auditor_attempts=row.auditor_attempts + 1)
        case AuditCompleted():
            return replace(row, patches=(*row.patches, *_references(data.suggested_patches)))
        case ChecksRequested():
            return replace(row, ci_runs_used=row.ci_runs_used + 1)
        case SnapshotCreated():
            return replace(row, commit=data.commit, tag=data.tag, unchecked=data.unchecked)
        case IssueRecorded():
            return _with_issue(row, data)
        case _:
            return row


def _built(row: PhaseRow, data: BuildSucceeded) -> PhaseRow:
    return replace(
        row,
        patches=_references((data.patch,)),
        files=data.files,
        lines_added=data.lines_added,
        lines_removed=data.lines_removed,
        summary=data.summary,
    )


def _references(patches: Iterable[ArtifactRef]) -> tuple[Mapping[str, Any], ...]:
    return tuple(patch.model_dump(mode="json") for patch in patches)


def _with_issue(row: PhaseRow, data: IssueRecorded) -> PhaseRow:
    issues = with_issue(row.issues or {}, data.issue_key, data.effective_severity)
    return replace(
        row,
        issues=issues,
        minor_issues=count(issues, MINOR),
        major_issues=count(issues, MAJOR),
        issue_state=issue_state(issues),
    )


def _ended(row: PhaseRow, entry: Entry, data: PhaseCompleted | PhaseFailed | PhaseSkipped) -> PhaseRow:
    failed = data if isinstance(data, PhaseFailed) else None
    return replace(
        row,
        completed_at=entry.at,
        build_request=None,
        cause=failed.cause if failed else None,
        failure=failed.failure if failed else None,
        reason=data.reason if not isinstance(data, PhaseCompleted) else None,
    )


PHASES: Projection[PhaseRow] = Projection(
    name="phases",
    version=1,
    row=PhaseRow,
    key=("project", "run_id", "phase_id"),
    wanted=frozenset(
        {
            RunRequested,
            RunAccepted,
            WorkStarted,
            WorkRevoked,
            PhaseStarted,
            PhaseCompleted,
            PhaseFailed,
            PhaseSkipped,
            BuildRequested,
            BuildSucceeded,
            BuildFailed,
            AuditRequested,
            AuditCompleted,
            AuditFailed,
            ApplyRequested,
            PatchAccepted,
            PatchRejected,
            ChecksRequested,
            ChecksPassed,
            ChecksFailed,
            SnapshotCreated,
            IntegrationFailed,
            IssueRecorded,
            BudgetSettled,
        }
    ),
    project=project,
    bulky={
        "description": None,
        "scope": None,
        "allow": (),
        "depends_on": (),
        "strategy": None,
        "patches": (),
        "files": (),
        "summary": "",
        "issues": {},
    },
)
