"""Answers as clients of the first version read them: its members, with the types that it gave them."""

import re
from typing import Any

from services.compose import Service
from services.settings import Settings
from support.service import serving

READING = frozenset({Service.API, Service.PROJECTOR, Service.SUPERVISOR})
PLAN = {
    "run": {"run_id": "old", "run_scope": "incremental", "token_cap": "1000", "max_phases": 12, "colour": "red"},
    "tiers": [{"tier_id": "T1", "tier_index": 0, "name": "Cart"}],
    "phases": [{"phase_id": "P1", "phase_index": 0, "tier_id": "T1", "name": "Totals", "builder_mode": "compose"}],
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")
RUN = (
    "id state safety_profile run_scope created_at started_at completed_at tokens_used ci_runs_used "
    "minor_issues_count major_issues_count promotion_eligible_to_main debt_status failure_reason tiers"
)
TIER = "id tier_id name state tier_index cleanliness minor_issues_count major_issues_count phases"
PHASE = "id phase_id name state task_category complexity builder_mode phase_index"
METRICS = (
    "run_id state safety_profile tokens_used token_cap token_utilization minor_issues_count major_issues_count "
    "max_minor_issues_total phase_count tier_count started_at completed_at"
)
SUMMARY = "run_id state safety_profile run_scope budgets issues tiers phases started_at completed_at"
BUDGETS = "tokens_used token_cap token_utilization phase_count max_phases"
ISSUES = "minor_count major_count max_minor_total distinct_issues"
SUMMED_TIER = "tier_id name state phase_count minor_issues major_issues tokens_used"
SUMMED_PHASE = (
    "phase_id phase_index name state task_category complexity builder_attempts auditor_attempts tokens_used "
    "minor_issues major_issues"
)


def missing(members: str, answer: dict[str, Any]) -> set[str]:
    return set(members.split()) - answer.keys()


async def test_a_client_of_the_first_version_finds_what_it_reads(postgres_settings: Settings) -> None:
    async with serving(postgres_settings, services=READING) as (_, client):
        started = await client.post("/runs/start", json=PLAN)
        again = await client.post("/runs/start", json=PLAN)
        astray = await client.post("/runs/start", json={**PLAN, "run": {"run_id": "other"}, "tiers": []})
        run = (await client.get("/runs/old")).json()
        metrics = (await client.get("/metrics/runs", params={"status": ""})).json()
        summary = (await client.get("/reports/run_summary/old")).json()
        unknown = await client.get("/metrics/runs", params={"status": "DONE"})
    assert started.status_code == 201
    # Clients in shell look for these words in the text itself: no blanks, and the run's own state first.
    assert '"id":"old"' in started.text
    assert started.text.index('"state":"RUN_CREATED"') < started.text.index('"tiers":')
    (tier,), (phase,) = run["tiers"], run["tiers"][0]["phases"]
    assert [missing(RUN, run), missing(TIER, tier), missing(PHASE, phase)] == [set(), set(), set()]
    assert (run["promotion_eligible_to_main"], run["ci_runs_used"], run["state"]) == ("false", 0, "RUN_CREATED")
    assert (type(tier["id"]), type(phase["id"]), phase["state"]) == (int, int, "QUEUED")
    assert TIME.fullmatch(run["created_at"])
    (line,) = metrics["runs"]
    assert (metrics["total_runs"], missing(METRICS, line)) == (1, set())
    assert (line["token_cap"], line["token_utilization"], line["max_minor_issues_total"]) == (1000, 0.0, 3)
    parts = (summary, summary["budgets"], summary["issues"], summary["tiers"][0], summary["phases"][0])
    wanted = (SUMMARY, BUDGETS, ISSUES, SUMMED_TIER, SUMMED_PHASE)
    assert [missing(*pair) for pair in zip(wanted, parts, strict=True)] == [set()] * len(parts)
    assert (again.status_code, "already exists" in again.json()["detail"]) == (400, True)
    assert (astray.status_code, "unknown tier" in astray.json()["detail"]) == (400, True)
    assert (unknown.status_code, unknown.json()["detail"].startswith("Invalid run state")) == (400, True)
