"""One row of counters a run; totals over runs are sums over rows."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from events.catalogue import AnyEventData
from events.families.apply import PatchRejected
from events.families.audit import AuditRequested
from events.families.base import Tokens
from events.families.build import BuildRequested, BuildSucceeded
from events.families.phase import PhaseCompleted, PhaseFailed, PhaseSkipped
from events.families.run import RunAccepted, RunCompleted, RunFailed, RunRequested
from events.families.verify import ChecksFailed, ChecksPassed, ChecksRequested
from events.families.work import WorkStarted
from projections.attempts import ANSWERS, KINDS
from projections.naming import phase_named, request_named
from projections.projection import EVERY_TYPE, Entry, Key, Projection
from projections.usage import cost_of, is_unknown, more, tokens_of, usage_of


class MetricsRow(Struct, frozen=True):
    """What a run took.

    `stages`: by kind of request, how many were answered, and the seconds they waited for a worker and were
    worked on. `failures`: failed answers by class. `slices`: tokens by `category:complexity`, which `slice_of`
    gives of each phase. `pending`: what the fold must remember of requests without an answer.
    """

    project: str
    run_id: str
    events: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    unknown_usages: int = 0
    cost_usd: float = 0.0
    ci_runs: int = 0
    builds: int = 0
    audits: int = 0
    flaky_checks: int = 0
    violations: int = 0
    lines_added: int = 0
    lines_removed: int = 0
    phases_completed: int = 0
    phases_failed: int = 0
    phases_skipped: int = 0
    failures: Mapping[str, int] | None = None
    stages: Mapping[str, Mapping[str, float]] | None = None
    slices: Mapping[str, int] | None = None
    pending: Mapping[str, Mapping[str, str]] | None = None
    slice_of: Mapping[str, str] | None = None


class _Stage(Struct, frozen=True):
    count: int = 0
    waiting_seconds: float = 0.0
    working_seconds: float = 0.0


def project(rows: Mapping[Key, MetricsRow], entry: Entry) -> Iterable[MetricsRow]:
    """The run's counters after an event."""
    if isinstance(entry.data, RunRequested):
        empty: dict[str, Any] = {"failures": {}, "stages": {}, "slices": {}, "pending": {}, "slice_of": {}}
        return [MetricsRow(entry.project, entry.run_id, events=1, **empty)]
    row = rows[entry.project, entry.run_id]
    row = _spent(replace(row, events=row.events + 1), entry.data)
    return [_timed(_counted(row, entry.data), entry)]


def _spent(row: MetricsRow, data: AnyEventData) -> MetricsRow:
    usage = usage_of(data)
    if usage is None:
        return row
    tokens = usage.tokens or Tokens()
    return replace(
        row,
        input_tokens=more(row.input_tokens, tokens.input),
        cached_input_tokens=more(row.cached_input_tokens, tokens.cached_input),
        cache_write_tokens=more(row.cache_write_tokens, tokens.cache_write),
        output_tokens=more(row.output_tokens, tokens.output),
        reasoning_tokens=more(row.reasoning_tokens, tokens.reasoning),
        unknown_usages=row.unknown_usages + is_unknown(data),
        cost_usd=row.cost_usd + cost_of(data),
        slices=_sliced(row, data),
    )


def _sliced(row: MetricsRow, data: AnyEventData) -> Mapping[str, int]:
    slices, tokens = row.slices or {}, tokens_of(data)
    own = (row.slice_of or {}).get(phase_named(data) or "")
    if not tokens or own is None:
        return slices
    return {**slices, own: more(slices.get(own, 0), tokens)}


def _counted(row: MetricsRow, data: AnyEventData) -> MetricsRow:
    match data:
        case BuildRequested():
            return replace(row, builds=row.builds + 1)
        case AuditRequested():
            return replace(row, audits=row.audits + 1)
        case ChecksRequested():
            return replace(row, ci_runs=row.ci_runs + 1)
        case BuildSucceeded():
            added, removed = more(row.lines_added, data.lines_added), more(row.lines_removed, data.lines_removed)
            return replace(row, lines_added=added, lines_removed=removed)
        case PatchRejected():
            return replace(row, violations=row.violations + len(data.violations))
        case ChecksPassed() | ChecksFailed():
            return replace(row, flaky_checks=row.flaky_checks + sum(check.flaky for check in data.checks))
        case PhaseCompleted():
            return replace(row, phases_completed=row.phases_completed + 1)
        case PhaseFailed():
            return replace(row, phases_failed=row.phases_failed + 1)
        case PhaseSkipped():
            return replace(row, phases_skipped=row.phases_skipped + 1)
        case _:
            return row


def _timed(row: MetricsRow, entry: Entry) -> MetricsRow:
    """What is remembered until an answer comes, and what the answer adds to its stage."""
    data, pending = entry.data, row.pending or {}
    if isinstance(data, RunAccepted):
        return replace(row, slice_of={s.phase_id: f"{s.category}:{s.complexity}" for s in data.strategy.phases})
    if isinstance(data, RunCompleted | RunFailed):
        return replace(row, pending={})
    if type(data) in KINDS:
        opened = {"kind": str(KINDS[type(data)]), "requested_at": entry.at.isoformat()}
        return replace(row, pending={**pending, entry.event.id: opened})
    request_id = request_named(data)
    request = pending.get(request_id) if request_id is not None else None
    if request_id is None or request is None:
        return row
    if isinstance(data, WorkStarted):
        claimed = {**request, "claimed_at": entry.at.isoformat()}
        return replace(row, pending={**pending, request_id: claimed})
    if type(data) in ANSWERS:
        return _answered(row, entry, request_id, request)
    return row


def _answered(row: MetricsRow, entry: Entry, request_id: str, request: Mapping[str, str]) -> MetricsRow:
    requested_at = datetime.fromisoformat(request["requested_at"])
    claimed_at = datetime.fromisoformat(request.get("claimed_at", request["requested_at"]))
    stages = row.stages or {}
    before = _Stage(**stages.get(request["kind"], {}))  # type: ignore[arg-type]  # its own fields, from JSON
    after = _Stage(
        before.count + 1,
        before.waiting_seconds + (claimed_at - requested_at).total_seconds(),
        before.working_seconds + (entry.at - claimed_at).total_seconds(),
    )
    failures, failure = dict(row.failures or {}), getattr(entry.data, "failure", None)
    if failure is not None:
        failures[str(failure)] = failures.get(str(failure), 0) + 1
    pending = {name: kept for name, kept in (row.pending or {}).items() if name != request_id}
    return replace(row, stages={**stages, request["kind"]: asdict(after)}, failures=failures, pending=pending)


METRICS: Projection[MetricsRow] = Projection(
    name="metrics",
    version=2,
    row=MetricsRow,
    key=("project", "run_id"),
    wanted=EVERY_TYPE,
    project=project,
    bulky={"slice_of": {}},
)
