"""`project_implementation_strategy_v1.json`: the rules that were frozen when the run was accepted."""

import orjson

from projections.queries.runs import RunView


def strategy_file(view: RunView) -> str:
    """The file's text: budgets, tiers, and the frozen strategy as the history has it."""
    run = view.run
    content = {
        "version": 1,
        "project_id": run.project,
        "run_id": run.run_id,
        "safety_profile": run.safety_profile,
        "run_scope": run.run_scope,
        "base_commit": run.base_commit,
        "integration_branch": run.integration_branch,
        "budgets": {
            "token_cap": run.token_cap,
            "max_cost_usd": run.max_cost_usd,
            "max_phases": run.max_phases,
            "max_duration_minutes": run.max_duration_minutes,
            "max_minor_issues_total": run.max_minor_issues,
        },
        "tiers": [
            {"tier_id": t.tier_id, "tier_index": t.tier_index, "name": t.name, "phase_ids": t.phase_ids}
            for t in view.tiers
        ],
        "strategy": run.strategy,
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
