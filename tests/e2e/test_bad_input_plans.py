"""Plans that cannot be worked: each fault is named with its place, and nothing of them enters the history."""

from pathlib import Path
from typing import Any

import pytest

from events.catalogue import Topic
from events.log.port import NewRecord
from services.compose import Service
from services.settings import Settings
from support.builds import names, repository, request, running
from support.repositories import git
from support.strangers import altered, refusals

PREPARING = frozenset({Service.SUPERVISOR, Service.APPLIER})
CYCLE = [{"phase_id": "A", "depends_on": ["C"]}, {"phase_id": "B", "depends_on": ["A"]}, {"phase_id": "C"}]
TIERS = [{"tier_id": "T1", "tier_index": 0, "name": "One"}, {"tier_id": "T1", "tier_index": 0, "name": "Two"}]
LATER = [{"phase_id": "A", "depends_on": ["B"]}, {"phase_id": "B", "tier_id": "T2"}]


def _faulty(repo: Path) -> dict[str, tuple[dict[str, Any], str, tuple[str, ...]]]:
    """By the run's id: a plan, the reason for its refusal, and the places of its faults."""
    good = request(repo)
    phase = good["phases"][0]
    return {
        "unknown": ({**good, "surprise": 1, "more": 2}, "invalid_data", ("data.surprise", "data.more")),
        "deeper": (
            {**good, "phases": [{**phase, "colour": "red"}]},
            "invalid_data",
            ("data.phases.0.colour",),
        ),
        "typed": ({**good, "token_cap": "many"}, "invalid_data", ("data.token_cap",)),
        "negative": ({**good, "max_phases": -1}, "invalid_data", ("data.max_phases",)),
        "cycle": (request(repo, CYCLE), "invalid_plan", ("phases",)),
        "later": (request(repo, LATER), "invalid_plan", ("phases[0].depends_on",)),
        "twice": (
            request(repo, [{"phase_id": "A"}, {"phase_id": "A"}]),
            "invalid_plan",
            ("phases[1].phase_id",),
        ),
        "tiers": ({**good, "tiers": TIERS}, "invalid_plan", ("tiers[1].tier_id", "tiers[1].tier_index")),
        "needs": (
            request(repo, [{"phase_id": "A", "depends_on": ["nowhere"]}]),
            "invalid_plan",
            ("phases[0].depends_on",),
        ),
        "tier": (
            {**good, "phases": [{**phase, "tier_id": "T9"}]},
            "invalid_plan",
            ("phases[0].tier_id",),
        ),
        "empty": (request(repo, []), "invalid_plan", ("phases",)),
        "homeless": (request(None), "invalid_plan", ("repository",)),
        "follower": ({**good, "follows": "nobody"}, "invalid_plan", ("follows",)),
        "other": ({**good, "project": "till"}, "invalid_plan", ("project",)),
        "dots": (
            {**good, "phases": [{**phase, "phase_id": "a..b"}]},
            "invalid_data",
            ("data.phases.0.phase_id",),
        ),
        "many": (
            request(repo, 251),
            "invalid_plan",
            ("phases",),
        ),
    }


async def test_each_fault_of_a_plan_is_named_with_its_place(postgres_settings: Settings, tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    faulty = _faulty(repo)
    values = {
        run_id: altered({**plan, "run_id": run_id}, run_id=run_id, id=run_id)
        for run_id, (plan, _, _) in faulty.items()
    }
    async with running(postgres_settings, services=PREPARING) as build:
        await build.log.submit(Topic.COMMANDS, [NewRecord("shop", value) for value in values.values()])
        await build.start(request(repo))
        await build.until("autopack.RunAccepted.v1")
        found = await refusals(build)
        assert {run_id: names(await build.history(run_id)) for run_id in faulty} == {
            run_id: [] for run_id in faulty
        }
    told = {run_id: (found[value]["reason"], found[value]["places"]) for run_id, value in values.items()}
    assert told == {run_id: (reason, places) for run_id, (_, reason, places) in faulty.items()}


@pytest.mark.parametrize(
    ("configuration", "category", "word"),
    [
        (None, "docs", "no check for CI profile 'normal'"),
        ('[checks.normal]\nt = { argv = ["true"] }\n', "docs", None),
        ('[checks.strict]\nt = { argv = ["true"] }\n', "docs", "no check for CI profile 'normal'"),
        ("[checks.normal\n", "docs", "not TOML"),
        ('[checks.normal]\nt = { command = "true" }\n', "docs", "command"),
        ("[ruleset]\nno_such_number = 1\n", "docs", "no_such_number"),
    ],
)
async def test_a_run_without_usable_checks_is_refused_and_says_what_is_missing(
    postgres_settings: Settings, tmp_path: Path, configuration: str | None, category: str, word: str | None
) -> None:
    repo = repository(tmp_path / "repo", {"autopack.toml": configuration or ""})
    if configuration is None:
        git(repo, "rm", "--quiet", "autopack.toml")
        git(repo, "commit", "--quiet", "--message", "Without checks")
    async with running(postgres_settings, services=PREPARING) as build:
        await build.start(request(repo, [{"phase_id": "A", "task_category": category}]))
        if word is None:
            await build.until("autopack.RunAccepted.v1")
            return
        end = await build.end()
    assert end["data"]["state"] == "DONE_FAILED_ENVIRONMENT"
    assert word in end["data"]["reason"]
