"""Numbers: a line a run, totals over runs, and the summary of one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from projections.database import Connection
from projections.metrics import METRICS, MetricsRow
from projections.phases import PhaseRow
from projections.queries.reading import rows
from projections.queries.runs import PageKey, count_runs, list_runs
from projections.runs import RunRow
from projections.tiers import TierRow


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """One line a run. `token_utilization` is used through cap, 0 where there is no cap."""

    run_id: str
    project: str
    state: str
    safety_profile: str
    tokens_used: int
    token_cap: int | None
    token_utilization: float
    minor_issues_count: int
    major_issues_count: int
    max_minor_issues_total: int | None
    phase_count: int
    tier_count: int
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """Lines, the newest run first; how many runs there are in all; where the next page begins."""

    total_runs: int
    runs: Sequence[RunMetrics]
    next: PageKey | None


@dataclass(frozen=True, slots=True)
class TierMetrics:
    """One line a tier; `phase_states` names only states that occur."""

    tier_id: str
    tier_index: int
    name: str
    state: str | None
    minor_issues_count: int
    major_issues_count: int
    phase_count: int
    phase_states: Mapping[str, int]
    tokens_used: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all runs, for a monitor."""

    runs_by_state: Mapping[str, int]
    events: int
    tokens: Mapping[str, int]
    cost_usd: float
    ci_runs: int
    builds: int
    audits: int
    phases_completed: int
    phases_failed: int
    failures: Mapping[str, int]
    stages: Mapping[str, Mapping[str, float]]


_STATES = "SELECT state, count(*) FROM runs_v1 GROUP BY state ORDER BY state"

_SUMS = """
SELECT count(*) AS runs, coalesce(sum(events), 0)::bigint AS events,
       coalesce(sum(input_tokens), 0)::bigint AS input,
       coalesce(sum(cached_input_tokens), 0)::bigint AS cached_input,
       coalesce(sum(cache_write_tokens), 0)::bigint AS cache_write,
       coalesce(sum(output_tokens), 0)::bigint AS output,
       coalesce(sum(cost_usd), 0)::double precision AS cost_usd,
       coalesce(sum(ci_runs), 0)::bigint AS ci_runs, coalesce(sum(builds), 0)::bigint AS builds,
       coalesce(sum(audits), 0)::bigint AS audits,
       coalesce(sum(phases_completed), 0)::bigint AS phases_completed,
       coalesce(sum(phases_failed), 0)::bigint AS phases_failed
FROM metrics_v1
"""

_FAILURES = """
SELECT failure.key AS name, sum(failure.value::bigint)::bigint AS number
FROM metrics_v1, jsonb_each_text(failures) AS failure GROUP BY 1 ORDER BY 1
"""

_STAGES = """
SELECT stage.key AS name, sum((stage.value ->> 'count')::bigint)::bigint AS count,
       sum((stage.value ->> 'waiting_seconds')::double precision) AS waiting_seconds,
       sum((stage.value ->> 'working_seconds')::double precision) AS working_seconds
FROM metrics_v1, jsonb_each(stages) AS stage GROUP BY 1 ORDER BY 1
"""

_ONE = "WHERE project = $1 AND run_id = $2"

TOKEN_KINDS = ("input", "cached_input", "cache_write", "output")


async def list_metrics(
    connection: Connection,
    *,
    project: str | None = None,
    states: Sequence[str] | None = None,
    behind: PageKey | None = None,
    limit: int = 100,
) -> MetricsPage:
    """A page of lines, in two statements."""
    total = await count_runs(connection, project=project, states=states)
    page = await list_runs(connection, project=project, states=states, behind=behind, limit=limit)
    return MetricsPage(total, [run_metrics(run) for run in page.runs], page.next)


def run_metrics(run: RunRow) -> RunMetrics:
    """The line of a run."""
    return RunMetrics(
        run_id=run.run_id,
        project=run.project,
        state=run.state,
        safety_profile=run.safety_profile,
        tokens_used=run.tokens_used,
        token_cap=run.token_cap,
        token_utilization=utilization(run),
        minor_issues_count=run.minor_issues,
        major_issues_count=run.major_issues,
        max_minor_issues_total=run.max_minor_issues,
        phase_count=run.phase_count,
        tier_count=run.tier_count,
        started_at=run.started_at,
        completed_at=run.completed_at,
    )


def utilization(run: RunRow) -> float:
    """Tokens used through the cap."""
    return run.tokens_used / run.token_cap if run.token_cap else 0.0


def tier_metrics(tier: TierRow, phases: Sequence[PhaseRow]) -> TierMetrics:
    """The line of a tier, of whose phases it tells."""
    return TierMetrics(
        tier_id=tier.tier_id,
        tier_index=tier.tier_index,
        name=tier.name,
        state=tier.state,
        minor_issues_count=tier.minor_issues,
        major_issues_count=tier.major_issues,
        phase_count=len(phases),
        phase_states=dict(Counter(phase.state or "" for phase in phases)),
        tokens_used=tier.tokens_used,
    )


async def read_metrics(connection: Connection, project: str, run_id: str) -> MetricsRow | None:
    """The counters of one run."""
    found = await rows(connection, METRICS, _ONE, project, run_id)
    return found[0] if found else None


async def read_totals(connection: Connection) -> Totals:
    """Sums over all runs, in four statements."""
    sums = await connection.fetchrow(_SUMS)
    if sums is None:
        raise LookupError("a sum without a row")
    failures = await connection.fetch(_FAILURES)
    stages = await connection.fetch(_STAGES)
    return Totals(
        runs_by_state={r["state"]: r["count"] for r in await connection.fetch(_STATES)},
        events=sums["events"],
        tokens={kind: sums[kind] for kind in TOKEN_KINDS},
        cost_usd=sums["cost_usd"],
        ci_runs=sums["ci_runs"],
        builds=sums["builds"],
        audits=sums["audits"],
        phases_completed=sums["phases_completed"],
        phases_failed=sums["phases_failed"],
        failures={r["name"]: r["number"] for r in failures},
        stages={r["name"]: {k: r[k] for k in ("count", "waiting_seconds", "working_seconds")} for r in stages},
    )
