"""The report of one run, in the first version's shape."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from projections.phases import PhaseRow
from projections.queries.metrics import utilization
from projections.queries.runs import RunView
from projections.tiers import TierRow


@dataclass(frozen=True, slots=True)
class BudgetSummary:
    """What a run used of what it may use."""

    tokens_used: int
    token_cap: int | None
    token_utilization: float
    phase_count: int
    max_phases: int | None


@dataclass(frozen=True, slots=True)
class IssueSummary:
    """The issues of a run, by distinct keys."""

    minor_count: int
    major_count: int
    max_minor_total: int | None
    distinct_issues: int


@dataclass(frozen=True, slots=True)
class TierSummary:
    """A tier in the summary of its run."""

    tier_id: str
    name: str
    state: str | None
    phase_count: int
    minor_issues: int
    major_issues: int
    tokens_used: int


@dataclass(frozen=True, slots=True)
class PhaseSummary:
    """A phase in the summary of its run."""

    phase_id: str
    phase_index: int
    name: str
    state: str | None
    task_category: str | None
    complexity: str | None
    builder_attempts: int
    auditor_attempts: int
    tokens_used: int
    minor_issues: int
    major_issues: int


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The report of one run."""

    run_id: str
    project: str
    state: str
    safety_profile: str
    run_scope: str
    budgets: BudgetSummary
    issues: IssueSummary
    tiers: Sequence[TierSummary]
    phases: Sequence[PhaseSummary]
    started_at: datetime | None
    completed_at: datetime | None


def summarize(view: RunView) -> RunSummary:
    """The report of a run that was read."""
    run = view.run
    return RunSummary(
        run_id=run.run_id,
        project=run.project,
        state=run.state,
        safety_profile=run.safety_profile,
        run_scope=run.run_scope,
        budgets=BudgetSummary(run.tokens_used, run.token_cap, utilization(run), run.phase_count, run.max_phases),
        issues=IssueSummary(run.minor_issues, run.major_issues, run.max_minor_issues, len(run.issues or {})),
        tiers=[_tier_summary(view, tier) for tier in view.tiers],
        phases=[_phase_summary(view, phase) for phase in view.phases],
        started_at=run.started_at,
        completed_at=run.completed_at,
    )


def _tier_summary(view: RunView, tier: TierRow) -> TierSummary:
    return TierSummary(
        tier_id=tier.tier_id,
        name=tier.name,
        state=view.state_of(tier),
        phase_count=len(view.phases_of(tier.tier_id)),
        minor_issues=tier.minor_issues,
        major_issues=tier.major_issues,
        tokens_used=tier.tokens_used,
    )


def _phase_summary(view: RunView, phase: PhaseRow) -> PhaseSummary:
    return PhaseSummary(
        phase_id=phase.phase_id,
        phase_index=phase.phase_index,
        name=phase.name,
        state=phase.state,
        task_category=phase.task_category,
        complexity=phase.complexity,
        builder_attempts=view.attempts_at(phase),
        auditor_attempts=phase.auditor_attempts,
        tokens_used=phase.tokens_used,
        minor_issues=phase.minor_issues,
        major_issues=phase.major_issues,
    )
