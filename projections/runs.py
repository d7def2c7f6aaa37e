"""One row a run: where it stands, what it used, what it asked for."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from events.families.budget import BudgetExceeded
from events.families.integrate import IntegrationFailed, SnapshotCreated
from events.families.issue import IssueRecorded
from events.families.run import (
    PrepareRequested,
    RunAccepted,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunPrepared,
    RunPromoted,
    RunRequested,
)
from events.families.tier import TierCompleted
from events.families.verify import ChecksRequested
from events.plan import EXTERNAL, phases_in_order, tiers_in_order
from events.states import PhaseState, RunState
from projections.content_ids import run_row_id
from projections.issue_counts import MAJOR, MINOR, count, with_issue
from projections.naming import phase_named
from projections.progress import PhaseProgress, advance, concerned, has_moved, shown_state
from projections.projection import EVERY_TYPE, Entry, Key, Projection
from projections.usage import cost_of, is_unknown, more, tokens_of

MINOR_ISSUES_A_PHASE = 3


class RunRow(Struct, frozen=True):
    """A run. `progress` is where those of its phases stand from which its own state follows: the ones that were
    begun and have not ended, and one that is complete.
    """

    project: str
    run_id: str
    id: int
    partition: int
    first_offset: int
    last_offset: int
    sequence: int
    state: str
    source: str
    event_id: str
    safety_profile: str
    run_scope: str
    tier: str | None
    builder: str | None
    auditor: str | None
    follows: str | None
    retry_of: str | None
    repository: str | None
    base: str | None
    token_cap: int | None
    max_cost_usd: float | None
    max_phases: int | None
    max_duration_minutes: float | None
    max_minor_issues: int | None
    tier_count: int
    phase_count: int
    created_at: datetime
    updated_at: datetime
    request: Mapping[str, Any]
    base_commit: str | None = None
    default_branch: str | None = None
    integration_branch: str | None = None
    head_commit: str | None = None
    tokens_used: int = 0
    tokens_lower_bound: bool = False
    cost_usd: float = 0.0
    ci_runs_used: int = 0
    minor_issues: int = 0
    major_issues: int = 0
    unchecked: bool = False
    clean: bool = True
    budget_failed: bool = False
    debt_status: str | None = None
    promotable: bool = False
    promoted_branch: str | None = None
    promoted_commit: str | None = None
    cancel_reason: str | None = None
    failure_reason: str | None = None
    incident: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    accepted_at: datetime | None = None
    completed_at: datetime | None = None
    duration_seconds: float | None = None
    strategy: Mapping[str, Any] | None = None
    progress: Mapping[str, Mapping[str, Any]] | None = None
    issues: Mapping[str, str] | None = None


def project(rows: Mapping[Key, RunRow], entry: Entry) -> Iterable[RunRow]:
    """The run's row after an event."""
    if isinstance(entry.data, RunRequested):
        return [_requested(entry, entry.data)]
    row = _changed(rows[entry.project, entry.run_id], entry)
    row = replace(
        row,
        sequence=entry.sequence,
        last_offset=entry.offset,
        updated_at=entry.at,
        tokens_used=more(row.tokens_used, tokens_of(entry.data)),
        cost_usd=row.cost_usd + cost_of(entry.data),
        tokens_lower_bound=row.tokens_lower_bound or is_unknown(entry.data),
    )
    return [row if row.completed_at is not None else _shown(row, entry)]


def _requested(entry: Entry, data: RunRequested) -> RunRow:
    phases = len(phases_in_order(data))
    return RunRow(
        project=entry.project,
        run_id=entry.run_id,
        id=run_row_id(entry.project, entry.run_id),
        partition=entry.partition,
        first_offset=entry.offset,
        last_offset=entry.offset,
        sequence=entry.sequence,
        state=RunState.PLAN_BOOTSTRAP,
        source=entry.event.source,
        event_id=entry.event.id,
        safety_profile=data.safety_profile,
        run_scope=data.run_scope,
        tier=data.tier,
        builder=data.agents.builder,
        auditor=data.agents.auditor,
        follows=data.follows,
        retry_of=data.retry_of,
        repository=data.repository,
        base=data.base,
        token_cap=data.token_cap,
        max_cost_usd=data.max_cost_usd,
        max_phases=data.max_phases,
        max_duration_minutes=data.max_duration_minutes,
        max_minor_issues=MINOR_ISSUES_A_PHASE * phases or None,
        tier_count=len(tiers_in_order(data)),
        phase_count=phases,
        created_at=entry.at,
        updated_at=entry.at,
        request=data.model_dump(mode="json"),
        progress={},
        issues={},
    )


def _changed(row: RunRow, entry: Entry) -> RunRow:
    data = entry.data
    match data:
        case PrepareRequested():
            return replace(row, started_at=entry.at)
        case RunPrepared():
            commit = data.base_commit
            return replace(row, base_commit=commit, head_commit=commit, default_branch=data.default_branch)
        case RunAccepted():
            return _accepted(row, entry, data)
        case SnapshotCreated():
            return replace(row, head_commit=data.commit)
        case IntegrationFailed() if has_moved(data):
            return replace(row, head_commit=data.head)
        case ChecksRequested():
            return replace(row, ci_runs_used=row.ci_runs_used + 1)
        case TierCompleted():
            return replace(row, clean=row.clean and data.cleanliness == "clean")
        case BudgetExceeded():
            return replace(row, budget_failed=True)
        case IssueRecorded():
            issues = with_issue(row.issues or {}, data.issue_key, data.effective_severity)
            return replace(
                row, issues=issues, minor_issues=count(issues, MINOR), major_issues=count(issues, MAJOR)
            )
        case RunCancelRequested():
            return replace(row, cancel_reason=row.cancel_reason or data.reason or "cancelled")
        case RunPromoted():
            return replace(row, promoted_branch=data.branch, promoted_commit=data.commit)
        case RunCompleted() | RunFailed():
            return _ended(row, entry, data)
        case _:
            return row


def _accepted(row: RunRow, entry: Entry, data: RunAccepted) -> RunRow:
    return replace(
        row,
        accepted_at=entry.at,
        started_at=row.started_at or entry.at,
        integration_branch=data.integration_branch,
        strategy=data.strategy.model_dump(mode="json"),
        unchecked=data.strategy.checks is None,
    )


def _ended(row: RunRow, entry: Entry, data: RunCompleted | RunFailed) -> RunRow:
    failed = data if isinstance(data, RunFailed) else None
    debt = _debt_status(row)
    success = data.state is RunState.DONE_SUCCESS and row.clean and not row.budget_failed and not row.unchecked
    return replace(
        row,
        state=data.state,
        completed_at=entry.at,
        duration_seconds=(entry.at - (row.started_at or row.created_at)).total_seconds(),
        failure_reason=failed.reason if failed else None,
        incident=failed.incident.model_dump(mode="json") if failed else None,
        debt_status=debt,
        promotable=success and debt != "excess_minor_issues",
        progress={},
    )


def _debt_status(row: RunRow) -> str:
    if row.max_minor_issues is not None and row.minor_issues > row.max_minor_issues:
        return "excess_minor_issues"
    return "has_minor_issues" if row.issues else "clean"


def _shown(row: RunRow, entry: Entry) -> RunRow:
    """The row with its phases' progress, and the state that follows from it."""
    if row.accepted_at is None:
        return row
    known = row.progress or {}
    moved = dict(_moved(known, entry))
    if not moved and not isinstance(entry.data, RunAccepted):
        return row
    progress = {phase_id: _progress(fields) for phase_id, fields in known.items()} | moved
    state = shown_state(progress.values(), row.builder == EXTERNAL)
    return replace(row, state=state, progress=_remembered(progress))


def _moved(known: Mapping[str, Mapping[str, Any]], entry: Entry) -> Iterator[tuple[str, PhaseProgress]]:
    """The phases whose progress an event changes. Where it names its phase, no other is looked at."""
    named = phase_named(entry.data)
    for phase_id in known if named is None else (named,):
        before = _progress(known.get(phase_id, {}))
        after = advance(before, entry.event) if concerned(entry.event, phase_id, before) else before
        if after != before:
            yield phase_id, after


def _remembered(progress: Mapping[str, PhaseProgress]) -> dict[str, Mapping[str, Any]]:
    """However many phases a run has, its row, which every event writes anew, names few of them."""
    # Of several the first by name: a row that was read back has them in another order.
    complete = min((name for name, one in progress.items() if one.state is PhaseState.COMPLETE), default=None)
    return {
        name: asdict(one)
        for name, one in progress.items()
        if name == complete or not (one.ended or one == PhaseProgress())
    }


def _progress(fields: Mapping[str, Any]) -> PhaseProgress:
    return PhaseProgress(**{**fields, "state": PhaseState(fields["state"])}) if fields else PhaseProgress()


RUNS: Projection[RunRow] = Projection(
    name="runs",
    version=2,
    row=RunRow,
    key=("project", "run_id"),
    wanted=EVERY_TYPE,
    project=project,
    bulky={"request": {}, "strategy": None, "incident": None},
)
