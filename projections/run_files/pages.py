"""The pages of a run, its tiers and its phases."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from projections.attempts import AttemptRow
from projections.phases import PhaseRow
from projections.queries.runs import RunView
from projections.run_files.markdown import bullets, document, fenced, items, line, section
from projections.runs import RunRow
from projections.tiers import TierRow


def run_page(view: RunView) -> str:
    """`run_summary.md`."""
    run = view.run
    facts = [
        ("State", run.state),
        ("Safety Profile", run.safety_profile),
        ("Run Scope", run.run_scope),
        ("Created", moment(run.created_at)),
        ("Tiers", run.tier_count),
        ("Phases", run.phase_count),
        ("Project", run.project),
        ("Repository", run.repository),
        ("Integration Branch", run.integration_branch),
        ("Base Commit", run.base_commit),
        ("Head Commit", run.head_commit),
    ]
    if run.failure_reason is not None:
        facts.append(("Failure Reason", run.failure_reason))
    return document(
        f"# Run Summary: {line(run.run_id)}",
        bullets(facts),
        section("Budgets", bullets(_budgets(run))),
        section("Issues", bullets(_issues(run))),
        section("Cleanliness", bullets(_cleanliness(run)), items(_tier_line(view, tier) for tier in view.tiers)),
        section("Execution", bullets(_times(run)), items(_phase_line(view, phase) for phase in view.phases)),
    )


def _budgets(run: RunRow) -> list[tuple[str, object]]:
    return [
        ("Tokens", f"{spent(run.tokens_used, run.tokens_lower_bound)} of {_limit(run.token_cap)}"),
        ("Cost (USD)", f"{run.cost_usd:.2f} of {_limit(run.max_cost_usd)}"),
        ("Phases", f"{run.phase_count} of {_limit(run.max_phases)}"),
        ("Minutes", f"{(run.duration_seconds or 0) / 60:.1f} of {_limit(run.max_duration_minutes)}"),
        ("CI Runs", run.ci_runs_used),
    ]


def _issues(run: RunRow) -> list[tuple[str, object]]:
    return [
        ("Minor", f"{run.minor_issues} of {_limit(run.max_minor_issues)}"),
        ("Major", run.major_issues),
        ("Distinct", len(run.issues or {})),
        ("Debt Status", run.debt_status),
    ]


def _cleanliness(run: RunRow) -> list[tuple[str, object]]:
    return [
        ("Tiers", "clean" if run.clean else "not_clean"),
        ("Checks", "none: unchecked" if run.unchecked else "required"),
        ("Promotion Eligible", str(run.promotable).lower()),
    ]


def _times(run: RunRow) -> list[tuple[str, object]]:
    return [
        ("Started", moment(run.started_at)),
        ("Completed", moment(run.completed_at)),
        ("Duration (seconds)", None if run.duration_seconds is None else f"{run.duration_seconds:.1f}"),
    ]


def _tier_line(view: RunView, tier: TierRow) -> str:
    return f"{tier.tier_id} ({tier.name}): {view.state_of(tier)}, {tier.cleanliness}, {tier.tokens_used} tokens"


def _phase_line(view: RunView, phase: PhaseRow) -> str:
    landed = f", {phase.commit[:12]}" if phase.commit else ""
    why = f": {phase.reason}" if phase.reason else ""
    return f"{phase.phase_id}: {phase.state}, {view.attempts_at(phase)} attempts{landed}{why}"


def tier_page(view: RunView, tier: TierRow) -> str:
    """`tiers/tier_NN_<name>.md`."""
    phases = view.phases_of(tier.tier_id)
    facts = [
        ("State", view.state_of(tier)),
        ("Tier ID", tier.tier_id),
        ("Index", tier.tier_index),
        ("Total", len(phases)),
        ("Description", tier.description),
    ]
    flags = [
        ("Cleanliness", tier.cleanliness),
        ("Token Limit Exceeded", str(tier.token_limit_exceeded).lower()),
        ("CI Run Limit Exceeded", str(tier.ci_run_limit_exceeded).lower()),
    ]
    return document(
        f"# Tier Summary: {line(tier.tier_id)} - {line(tier.name)}",
        bullets(facts),
        section("Budgets", bullets([("Tokens", tier.tokens_used), ("CI Runs", tier.ci_runs_used)])),
        section("Issues", bullets([("Minor", tier.minor_issues), ("Major", tier.major_issues)])),
        section("Cleanliness", bullets(flags)),
        section("Execution", items(_phase_line(view, phase) for phase in phases)),
    )


def phase_page(phase: PhaseRow, builds: int, attempts: Iterable[AttemptRow]) -> str:
    """`phases/phase_NN_<phase_id>.md`, with the builds that count."""
    strategy = phase.strategy or {}
    facts = [
        ("State", phase.state),
        ("Phase ID", phase.phase_id),
        ("Index", phase.phase_index),
        ("Task Category", phase.task_category),
        ("Complexity", phase.complexity),
        ("Tier ID", phase.tier_id),
        ("Builder Mode", phase.builder_mode),
        ("Commit", phase.commit),
        ("Tag", phase.tag),
    ]
    if phase.reason is not None:
        facts.append(("Reason", phase.reason))
    issues = [("State", phase.issue_state), ("Minor", phase.minor_issues), ("Major", phase.major_issues)]
    return document(
        f"# Phase Summary: {line(phase.phase_id)} - {line(phase.name)}",
        bullets(facts),
        section("Description", fenced(phase.description)) if phase.description else "",
        section("Budgets", bullets(_phase_budgets(phase, builds, strategy))),
        section("Issues", bullets(issues)),
        section("Cleanliness", bullets([("Checks", "none: unchecked" if phase.unchecked else "required")])),
        section("Execution", *(attempt_section(attempt) for attempt in attempts)),
    )


def _phase_budgets(phase: PhaseRow, builds: int, strategy: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [
        ("Tokens", spent(phase.tokens_used, phase.tokens_lower_bound)),
        ("Tokens An Attempt", _limit(strategy.get("incident_token_cap"))),
        ("Builder Attempts", f"{builds} of {_limit(strategy.get('builder_attempts'))}"),
        ("Auditor Attempts", f"{phase.auditor_attempts}, {strategy.get('auditor_attempts', 0)} an attempt"),
        ("CI Runs", phase.ci_runs_used),
    ]


def attempt_section(attempt: AttemptRow) -> str:
    """One request and what came of it."""
    facts: list[tuple[str, object]] = [
        ("Outcome", (attempt.revoked and f"revoked ({attempt.revoked})") or attempt.outcome),
        ("Agent", attempt.agent),
        ("Instance", attempt.instance),
        ("Tokens", _reported(attempt)),
        ("Seconds", None if attempt.duration_seconds is None else f"{attempt.duration_seconds:.1f}"),
        ("Verdict", attempt.recommendation),
        ("Summary", attempt.summary or None),
        ("Failure", attempt.failure and f"{attempt.failure}: {attempt.reason}"),
    ]
    told = bullets((name, value) for name, value in facts if value is not None)
    return section(f"Attempt {attempt.attempt}: {attempt.kind}", told, *_told(attempt), level=3)


def _reported(attempt: AttemptRow) -> str:
    return "unknown" if attempt.tokens is None else spent(attempt.tokens_used, attempt.tokens_lower_bound)


def _told(attempt: AttemptRow) -> Iterable[str]:
    """Findings, violations and concerns as lines; what red checks printed, as it was."""
    details = attempt.details or {}
    for name in ("violations", "concerns", "findings"):
        if details.get(name):
            yield items(f"{name[:-1]}: {_remark(one)}" for one in details[name])
    for check in details.get("checks") or ():
        flaky = ", flaky" if check.get("flaky") else ""
        yield items([f"check {check['name']}: {check['outcome']}, {check.get('tries', 1)} tries{flaky}"])
        if check.get("output") and check["outcome"] != "passed":
            yield fenced(check["output"])


def _remark(one: Mapping[str, Any]) -> str:
    kind = one.get("rule") or one.get("kind") or one.get("severity") or ""
    where = f" in {one['path']}" if one.get("path") else ""
    return f"{kind}{where}: {one.get('message', '')}"


def spent(tokens: int, lower_bound: bool) -> str:
    """Tokens, marked where some agent did not say what it used."""
    return f"at least {tokens}" if lower_bound else str(tokens)


def _limit(limit: float | None) -> str:
    return "no limit" if limit is None else f"{limit:g}" if isinstance(limit, float) else str(limit)


def moment(at: datetime | None) -> str | None:
    """A time, in UTC."""
    return at.astimezone(UTC).isoformat(timespec="seconds") if at else None
