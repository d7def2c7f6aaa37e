"""Numbers: a line a run, a line a tier, and the counters of one run."""

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


_ONE = "WHERE project = $1 AND run_id = $2"


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
