"""Rows as clients see them: the first version's shapes, with new members added behind its own."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct, structs

from projections.phases import PhaseRow
from projections.queries.runs import RunView
from projections.runs import RunRow
from projections.tiers import TierRow
from projections.timeline import TimelineRow


def moment(at: datetime | None) -> str | None:
    """A time as clients know it: ISO 8601 with microseconds, UTC, without an offset."""
    return None if at is None else at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def plain(value: Any) -> Any:
    """A value of the queries as JSON holds it."""
    if isinstance(value, Struct):
        return {name: plain(item) for name, item in structs.asdict(value).items()}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def run_line(run: RunRow) -> dict[str, Any]:
    """A run without its tiers, as lists show it."""
    return {
        "id": run.run_id,
        "run_id": run.run_id,
        "state": run.state,
        "project": run.project,
        "safety_profile": run.safety_profile,
        "run_scope": run.run_scope,
        "created_at": moment(run.created_at),
        "started_at": moment(run.started_at),
        "completed_at": moment(run.completed_at),
        "tokens_used": run.tokens_used,
        "ci_runs_used": run.ci_runs_used,
        "minor_issues_count": run.minor_issues,
        "major_issues_count": run.major_issues,
        "promotion_eligible_to_main": "true" if run.promotable else "false",
        "debt_status": run.debt_status,
        "failure_reason": run.failure_reason,
        "token_cap": run.token_cap,
        "max_phases": run.max_phases,
        "max_duration_minutes": run.max_duration_minutes,
        "tokens_are_lower_bound": run.tokens_lower_bound,
        "cost_usd": run.cost_usd,
        "repository": run.repository,
        "integration_branch": run.integration_branch,
        "base_commit": run.base_commit,
        "head_commit": run.head_commit,
        "unchecked": run.unchecked,
        "duration_seconds": run.duration_seconds,
        "follows": run.follows,
        "retry_of": run.retry_of,
        "incident": run.incident,
    }


def run_view(view: RunView) -> dict[str, Any]:
    """A run with its tiers and their phases, and how its history stands."""
    tiers = [_tier(tier, view) for tier in view.tiers]
    history = {"event_count": view.event_count, "quarantine": view.quarantine}
    return {**run_line(view.run), **history, "tiers": tiers}


def _tier(tier: TierRow, view: RunView) -> dict[str, Any]:
    return {
        "id": tier.id,
        "tier_id": tier.tier_id,
        "name": tier.name,
        "state": view.state_of(tier),
        "tier_index": tier.tier_index,
        "cleanliness": tier.cleanliness,
        "minor_issues_count": tier.minor_issues,
        "major_issues_count": tier.major_issues,
        "tokens_used": tier.tokens_used,
        "ci_runs_used": tier.ci_runs_used,
        "phases": [_phase(phase, view) for phase in view.phases_of(tier.tier_id)],
    }


def _phase(phase: PhaseRow, view: RunView) -> dict[str, Any]:
    """No `tier_id` in it: clients count tiers by that word."""
    return {
        "id": phase.id,
        "phase_id": phase.phase_id,
        "name": phase.name,
        "state": phase.state,
        "task_category": phase.task_category,
        "complexity": phase.complexity,
        "builder_mode": phase.builder_mode,
        "phase_index": phase.phase_index,
        "attempts": view.attempts_at(phase),
        "audits": phase.auditor_attempts,
        "tokens_used": phase.tokens_used,
        "commit": phase.commit,
        "tag": phase.tag,
        "failure": phase.failure,
        "reason": phase.reason,
        "started_at": moment(phase.started_at),
        "completed_at": moment(phase.completed_at),
    }


def event_line(row: TimelineRow) -> dict[str, Any]:
    """An event of the timeline."""
    return {
        "sequence": row.sequence,
        "type": row.type,
        "id": row.event_id,
        "source": row.source,
        "cause_id": row.cause_id,
        "phase_id": row.phase_id,
        "tier_id": row.tier_id,
        "recorded_at": moment(row.recorded_at),
        "partition": row.partition,
        "offset": row.log_offset,
        "summary": row.summary,
    }
