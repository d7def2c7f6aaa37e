"""Builds from the request to the branch, on both logs."""

import asyncio
import json
from pathlib import Path

from events.catalogue import Topic
from services.settings import Settings
from support.builds import WRITES_A_FILE, Build, names, python_agent, repository, request, running, submitted
from support.repositories import git

PHASE = [
    "PhaseStarted", "BuildRequested", "WorkStarted", "BuildSucceeded", "ApplyRequested", "WorkStarted",
    "PatchAccepted", "ChecksRequested", "WorkStarted", "ChecksPassed", "IntegrationRequested", "WorkStarted",
    "SnapshotCreated", "PhaseCompleted",
]  # fmt: skip


async def test_a_plan_goes_in_and_a_green_branch_comes_out(log_settings: Settings, tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    before = git(repo, "rev-parse", "main")
    async with running(log_settings, python_agent(tmp_path, "agent", WRITES_A_FILE)) as build:
        await build.start(request(repo, phases=2))
        end = await build.end()
        history = await build.history()
    begin = ["RunRequested", "PrepareRequested", "WorkStarted", "RunPrepared", "RunAccepted", "TierStarted"]
    assert names(history) == [*begin, *PHASE, *PHASE, "TierCompleted", "RunCompleted"]
    assert end["data"]["state"] == "DONE_SUCCESS"
    assert git(repo, "rev-parse", "autonomous/run-1") == end["data"]["head_commit"]
    assert git(repo, "log", "--format=%s", "main..autonomous/run-1").split("\n") == ["Phase 2", "Phase 1"]
    assert git(repo, "show", "autonomous/run-1:P2.txt") == "done"
    assert git(repo, "tag").split("\n") == [
        "autonomous/run-1/tier-T1/phase-P1",
        "autonomous/run-1/tier-T1/phase-P2",
    ]
    assert git(repo, "rev-parse", "main") == before
    assert git(repo, "status", "--porcelain") == ""


async def test_red_checks_are_mended_by_the_retry_that_is_told_of_them(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    checks = {"normal": [{"name": "good", "argv": ["grep", "-q", "good", "P1.txt"]}]}
    agent = python_agent(
        tmp_path,
        "agent",
        "told = json.dumps(request['feedback'])\n"
        "pathlib.Path('P1.txt').write_text('good' if 'red checks: good' in told else 'bad')",
    )
    repo = repository(tmp_path / "repo", {"autopack.toml": "[ruleset]\ncheck_tries = 1\n"})
    async with running(postgres_settings, agent) as build:
        await build.start(request(repo, checks=checks))
        end = await build.end()
        history = await build.history()
    assert end["data"]["state"] == "DONE_SUCCESS", json.dumps(end["data"])
    assert names(history).count("BuildRequested") == 2
    assert names(history).count("ChecksFailed") == 1


async def test_a_missing_repository_fails_the_run_with_its_reason(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    async with running(postgres_settings) as build:
        await build.start(request(tmp_path / "nowhere"))
        end = await build.end()
    assert end["data"]["state"] == "DONE_FAILED_ENVIRONMENT"
    assert "no git repository" in end["data"]["reason"]


async def test_a_branch_that_another_run_left_is_not_built_upon(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    repo = repository(tmp_path / "repo")
    git(repo, "branch", "autonomous/run-1")
    async with running(postgres_settings, python_agent(tmp_path, "agent", WRITES_A_FILE)) as build:
        await build.start(request(repo))
        end = await build.end()
    assert end["data"]["state"] == "DONE_FAILED_ENVIRONMENT"
    assert end["data"]["incident"]["failure"] == "branch_taken"
    assert "refs/heads/autonomous/run-1 is there already" in end["data"]["reason"]
    assert git(repo, "rev-parse", "autonomous/run-1") == git(repo, "rev-parse", "main")


async def test_cancelling_kills_the_agent_and_ends_the_run(postgres_settings: Settings, tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    agent = python_agent(tmp_path, "agent", "import time; time.sleep(600)")
    async with running(postgres_settings, agent) as build:
        await build.start(request(repo))
        await _claimed(build)
        await build.log.submit(
            Topic.COMMANDS, [submitted("RunCancelRequested", {"reason": "enough"}, "run-1", "shop")]
        )
        end = await build.end()
        history = await build.history()
    assert end["data"]["state"] == "DONE_FAILED_CANCELLED"
    assert names(history)[-5:] == ["WorkRevoked", "BuildFailed", "PhaseFailed", "TierCompleted", "RunFailed"]


async def _claimed(build: Build) -> None:
    """Wait until the builder works: its claim is the second one, after the preparation's."""
    await build.until("autopack.BuildRequested.v1")
    async with asyncio.timeout(30):
        while names(await build.history()).count("WorkStarted") < 2:
            await asyncio.sleep(0.02)
