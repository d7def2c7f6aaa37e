"""One row a request, of every kind: who worked on it, what came of it, what it cost."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, assert_never, get_args

from msgspec import Struct
from msgspec.structs import replace

from events.families.apply import ApplyRequested, PatchAccepted, PatchRejected
from events.families.audit import AuditCompleted, AuditFailed, AuditRequested
from events.families.base import Tokens
from events.families.budget import BudgetReserved, BudgetSettled
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.integrate import IntegrationFailed, IntegrationRequested, SnapshotCreated
from events.families.run import PrepareFailed, PrepareRequested, RunPrepared
from events.families.verify import ChecksFailed, ChecksPassed, ChecksRequested
from events.families.work import WorkRevoked, WorkStarted
from events.state import RequestKind
from projections.naming import request_named
from projections.projection import Entry, Key, Memory, Projection
from projections.usage import is_unknown, more, tokens_of, usage_of

OPEN = "open"
SUCCEEDED = "succeeded"
FAILED = "failed"
REVOKED = "revoked"


class AttemptRow(Struct, frozen=True):
    """A request and its answer. `outcome` is `open`, `succeeded`, `failed` or `revoked`.

    What was used is the sum of all reports: each claim owes one. `tokens` None means that none said how many, and
    `tokens_lower_bound` that one of them did not. `details` holds what a reader of the outcome wants next:
    findings, violations, concerns, checks, probes, suggested patches.
    """

    project: str
    run_id: str
    request_id: str
    sequence: int
    kind: str
    phase_id: str | None
    attempt: int
    audit: int | None
    requested_at: datetime
    limit_seconds: float
    base_commit: str | None = None
    reserved_tokens: int | None = None
    claims: int = 0
    claimed_at: datetime | None = None
    instance: str | None = None
    agent: str | None = None
    agent_version: str | None = None
    sandbox: str | None = None
    outcome: str = OPEN
    answered_at: datetime | None = None
    revoked: str | None = None
    failure: str | None = None
    reason: str | None = None
    recommendation: str | None = None
    confidence: float | None = None
    commit: str | None = None
    patch: Mapping[str, Any] | None = None
    files: Sequence[str] = ()
    lines_added: int = 0
    lines_removed: int = 0
    summary: str = ""
    tokens: Mapping[str, int] | None = None
    tokens_used: int = 0
    tokens_lower_bound: bool = False
    cost_usd: float | None = None
    duration_seconds: float | None = None
    log: Mapping[str, Any] | None = None
    details: Mapping[str, Any] | None = None


Request = (
    PrepareRequested | BuildRequested | AuditRequested | ApplyRequested | ChecksRequested | IntegrationRequested
)
Failure = PrepareFailed | BuildFailed | AuditFailed | PatchRejected | ChecksFailed | IntegrationFailed
Success = RunPrepared | BuildSucceeded | AuditCompleted | PatchAccepted | ChecksPassed | SnapshotCreated
ANSWERS: frozenset[type] = frozenset((*get_args(Failure), *get_args(Success)))

KINDS: Mapping[type, RequestKind] = {
    PrepareRequested: RequestKind.PREPARE,
    BuildRequested: RequestKind.BUILD,
    AuditRequested: RequestKind.AUDIT,
    ApplyRequested: RequestKind.APPLY,
    ChecksRequested: RequestKind.CHECKS,
    IntegrationRequested: RequestKind.INTEGRATION,
}

_DETAILS = frozenset(
    {
        "findings",
        "violations",
        "concerns",
        "checks",
        "probes",
        "issues",
        "suggested_patches",
        "head",
        "tag",
        "tree",
        "unchecked",
        "needs_review",
        "configuration",
    }
)


def request_of(entry: Entry) -> Key | None:
    """The request that an event speaks of; one that opens a request has none before."""
    request_id = request_named(entry.data)
    return None if request_id is None else (entry.project, entry.run_id, request_id)


def request_begun(entry: Entry) -> Key | None:
    """The request that an event opens."""
    return (entry.project, entry.run_id, entry.event.id) if isinstance(entry.data, Request) else None


def project(rows: Mapping[Key, AttemptRow], entry: Entry) -> Iterable[AttemptRow]:
    """The request's row after an event."""
    data = entry.data
    if isinstance(data, Request):
        return [_opened(entry, data)]
    # What is settled or set aside may concern a request that this history never held.
    row = rows.get(request_of(entry) or ())
    return [] if row is None else [_changed(row, entry)]


def _opened(entry: Entry, data: Request) -> AttemptRow:
    base = getattr(data, "base_commit", None) or getattr(data, "parent", None)
    return AttemptRow(
        project=entry.project,
        run_id=entry.run_id,
        request_id=entry.event.id,
        sequence=entry.sequence,
        kind=KINDS[type(data)],
        phase_id=None if isinstance(data, PrepareRequested) else data.phase_id,
        attempt=0 if isinstance(data, PrepareRequested) else data.attempt,
        audit=data.audit if isinstance(data, AuditRequested) else None,
        requested_at=entry.at,
        limit_seconds=data.limit_seconds,
        base_commit=base,
        agent=getattr(data, "agent", None),
        details={},
    )


def _changed(row: AttemptRow, entry: Entry) -> AttemptRow:
    data = entry.data
    match data:
        case WorkStarted():
            return _claimed(row, entry, data)
        case WorkRevoked():
            return replace(row, outcome=REVOKED, revoked=data.reason)
        case BudgetReserved():
            return replace(row, reserved_tokens=data.tokens)
        case BudgetSettled():
            return _used(row, data)
        case PrepareFailed() | BuildFailed() | AuditFailed() | PatchRejected() | ChecksFailed():
            return _failed(row, entry, data)
        case IntegrationFailed():
            return _failed(row, entry, data)
        case RunPrepared() | BuildSucceeded() | AuditCompleted():
            return _succeeded(row, entry, data)
        case PatchAccepted() | ChecksPassed() | SnapshotCreated():
            return _succeeded(row, entry, data)
        case _:
            return row


def _claimed(row: AttemptRow, entry: Entry, data: WorkStarted) -> AttemptRow:
    return replace(
        row,
        claims=row.claims + 1,
        claimed_at=entry.at,
        instance=data.instance,
        limit_seconds=data.limit_seconds,
        agent=data.agent or row.agent,
        agent_version=data.agent_version,
        sandbox=data.sandbox,
    )


def _used(row: AttemptRow, data: BudgetSettled | Failure | Success) -> AttemptRow:
    usage = usage_of(data)
    if usage is None:
        return row
    return replace(
        row,
        tokens=_counted(row.tokens, usage.tokens),
        tokens_used=more(row.tokens_used, tokens_of(data)),
        tokens_lower_bound=row.tokens_lower_bound or is_unknown(data),
        cost_usd=row.cost_usd if usage.cost_usd is None else (row.cost_usd or 0.0) + usage.cost_usd,
        duration_seconds=(row.duration_seconds or 0.0) + usage.duration_seconds,
    )


def _counted(counted: Mapping[str, int] | None, tokens: Tokens | None) -> Mapping[str, int] | None:
    """By kind. What one did not say takes nothing from what others said."""
    if tokens is None:
        return counted
    return {kind: more((counted or {}).get(kind, 0), count) for kind, count in tokens.model_dump().items()}


def _answered(row: AttemptRow, entry: Entry, data: Failure | Success, outcome: str) -> AttemptRow:
    """What is revoked stays so: its answer only tells what was used."""
    log = getattr(data, "log", None)
    return replace(
        _used(row, data),
        outcome=row.outcome if row.revoked else outcome,
        answered_at=entry.at,
        log=log.model_dump(mode="json") if log is not None else None,
        details=data.model_dump(mode="json", include=set(_DETAILS)),
    )


def _failed(row: AttemptRow, entry: Entry, data: Failure) -> AttemptRow:
    return replace(_answered(row, entry, data, FAILED), failure=data.failure, reason=data.reason)


def _succeeded(row: AttemptRow, entry: Entry, data: Success) -> AttemptRow:
    row = _answered(row, entry, data, SUCCEEDED)
    match data:
        case RunPrepared():
            return replace(row, commit=data.base_commit)
        case BuildSucceeded():
            return replace(
                row,
                patch=data.patch.model_dump(mode="json"),
                files=data.files,
                lines_added=data.lines_added,
                lines_removed=data.lines_removed,
                summary=data.summary,
            )
        case AuditCompleted():
            return replace(row, recommendation=data.recommendation, confidence=data.confidence)
        case PatchAccepted():
            return replace(row, commit=data.candidate, files=data.files)
        case ChecksPassed():
            return replace(row, commit=data.candidate)
        case SnapshotCreated():
            return replace(row, commit=data.commit)
        case _:
            assert_never(data)


ATTEMPTS: Projection[AttemptRow] = Projection(
    name="attempts",
    version=2,
    row=AttemptRow,
    key=("project", "run_id", "request_id"),
    wanted=frozenset(
        {
            *KINDS,
            WorkStarted,
            WorkRevoked,
            BudgetReserved,
            BudgetSettled,
            RunPrepared,
            PrepareFailed,
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
        }
    ),
    project=project,
    memory=Memory(("project", "run_id", "request_id"), request_of, request_begun),
)
