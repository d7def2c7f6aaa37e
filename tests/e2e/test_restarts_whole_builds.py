"""Services that are stopped, drained, killed and started again in the midst of a build."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from events.catalogue import Topic
from services.compose import Service, compose
from services.settings import Settings
from support.builds import WORKERS, Build, names, repository, request, running, submitted
from support.gates import Gate, builds_claimed, until
from support.repositories import git

AUTOPACK = Path(sys.executable).parent / "autopack"
ANSWERS = {
    "RunPrepared", "BuildSucceeded", "AuditCompleted", "PatchAccepted", "ChecksPassed", "SnapshotCreated",
}  # fmt: skip


def _answered_twice(history: Sequence[dict[str, Any]]) -> list[str]:
    kinds = {f"autopack.{name}" for name in ANSWERS}
    answers = [e["data"]["request_id"] for e in history if e["type"].rpartition(".")[0] in kinds]
    return [request_id for request_id, count in Counter(answers).items() if count > 1]


async def _chain_holds(build: Build) -> bool:
    """Each record of the run names the digest of the one before, and none is missing."""
    digest, sequence = "0" * 64, 0
    for record, event in zip(await build.records(Topic.EVENTS), await build.history(), strict=True):
        if (event["prevhash"], event["sequence"]) != (digest, sequence):
            return False
        digest, sequence = sha256(record.value).hexdigest(), sequence + 1
    return True


async def test_a_drained_application_is_followed_by_one_that_goes_on_where_it_stood(
    log_settings: Settings, tmp_path: Path
) -> None:
    repo, gate = repository(tmp_path / "repo"), Gate(tmp_path)
    settings = log_settings.model_copy(update={"grace_seconds": 0.2})
    gate.open("run-1", "P1")
    async with running(settings, gate.agent()) as build:
        await build.start(request(repo, 3))
        await until(build, lambda history: builds_claimed(history) == ["P1", "P2"])
    assert gate.waiting() == []
    gate.open_all()
    async with running(settings, gate.agent()) as build:
        end = (await build.end())["data"]
        history = await build.history()
        assert await _chain_holds(build)
    assert end["state"] == "DONE_SUCCESS", end
    assert builds_claimed(history) == ["P1", "P2", "P2", "P3"]
    assert names(history).count("BuildRequested") == 3
    assert _answered_twice(history) == []
    assert git(repo, "rev-list", "--count", "main..autonomous/run-1") == "3"


async def test_work_that_ends_within_the_grace_is_answered_before_the_service_leaves(
    log_settings: Settings, tmp_path: Path
) -> None:
    repo, gate = repository(tmp_path / "repo"), Gate(tmp_path)
    settings = log_settings.model_copy(update={"grace_seconds": 60.0})
    workers_alone = WORKERS - {Service.BUILDER}
    async with running(log_settings, services=workers_alone) as others:
        async with running(settings, gate.agent(), services=frozenset({Service.BUILDER})) as build:
            await build.start(request(repo))
            await until(build, lambda history: builds_claimed(history) == ["P1"])
            async with asyncio.timeout(60):  # one that is only about to begin is left to others
                while not gate.waiting():
                    await asyncio.sleep(0.02)
            opening = asyncio.get_running_loop().call_later(0.5, gate.open_all)
        opening.cancel()
        end = (await others.end())["data"]
        history = await others.history()
    assert end["state"] == "DONE_SUCCESS", end
    assert builds_claimed(history) == ["P1"]


class Killable:
    """All services as a child process, as `autopack up` runs them."""

    def __init__(self, settings: Settings, agent: Sequence[str], log: Path) -> None:
        self._environment = _environment(settings, agent)
        self._log = log

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """Run it for as long as the block does; then it is killed, whatever it is at."""
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                AUTOPACK, "up", env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield
        finally:
            process.kill()
            await process.wait()


def _environment(settings: Settings, agent: Sequence[str]) -> dict[str, str]:
    settings.home_folder.mkdir(parents=True, exist_ok=True)
    words = ", ".join(f'"{word}"' for word in agent)
    text = f'[defaults]\nbuilder = "gated"\n[builder.gated]\nkind = "command"\nargv = [{words}]\n'
    settings.agents_file.write_text(text)
    return {
        "PATH": os.environ["PATH"],
        "AUTOPACK_HOME": str(settings.home_folder),
        "AUTOPACK_LOG": str(settings.log),
        "AUTOPACK_DATABASE": str(settings.database),
        "AUTOPACK_PARTITIONS": str(settings.partitions),
        "AUTOPACK_TOPIC_PREFIX": settings.topic_prefix,
        "AUTOPACK_SESSION_TIMEOUT_SECONDS": str(settings.session_timeout_seconds),
        "AUTOPACK_LISTEN": "127.0.0.1:0",
    }


@asynccontextmanager
async def _onlooker(settings: Settings) -> AsyncIterator[Build]:
    """A client of the log that runs no service."""
    async with compose(settings, frozenset()) as application:
        yield Build(application)


@pytest.mark.timeout(240)
async def test_all_services_are_killed_at_every_stage_and_the_run_completes(
    log_settings: Settings, tmp_path: Path
) -> None:
    repo, gate = repository(tmp_path / "repo"), Gate(tmp_path)
    settings = log_settings.model_copy(update={"session_timeout_seconds": 2.0})
    services = Killable(settings, gate.agent(), tmp_path / "up.log")
    async with _onlooker(settings) as build:
        await build.start(request(repo, 3))
        async with services.up():
            await until(build, lambda history: builds_claimed(history) == ["P1"])
        gate.open_all()
        for stage, count in (("ChecksRequested", 1), ("IntegrationRequested", 2)):
            async with services.up():
                await until(build, lambda history: names(history).count(stage) >= count)  # noqa: B023
        async with services.up():
            end = (await build.end(seconds=100))["data"]
        history = await build.history()
        assert await _chain_holds(build)
    assert end["state"] == "DONE_SUCCESS", end
    assert names(history).count("BuildRequested") == 3
    assert builds_claimed(history)[:2] == ["P1", "P1"]
    assert _answered_twice(history) == []
    assert git(repo, "rev-list", "--count", "main..autonomous/run-1") == "3"
    assert git(repo, "rev-parse", "autonomous/run-1") == end["head_commit"]
    git(repo, "fsck", "--strict", "--no-dangling")
    assert gate.waiting() == []


async def test_an_agent_dies_with_the_service_that_is_killed(postgres_settings: Settings, tmp_path: Path) -> None:
    repo, gate = repository(tmp_path / "repo"), Gate(tmp_path)
    services = Killable(postgres_settings, gate.agent(), tmp_path / "up.log")
    async with _onlooker(postgres_settings) as build:
        await build.start(request(repo))
        async with services.up():
            async with asyncio.timeout(60):
                while not gate.waiting():
                    await asyncio.sleep(0.02)
        async with asyncio.timeout(10):
            while gate.waiting():
                await asyncio.sleep(0.02)


APPROVES = "print(json.dumps({'recommendation': 'approve', 'confidence': 1}))"
HANGS = {"normal": [{"name": "hangs", "argv": ["sleep", "600"]}]}
AUDITED = [{"phase_id": "P1", "task_category": "index_registry_change"}, {"phase_id": "P2"}]
STAGES = {
    "build": "BuildRequested",
    "audit": "AuditRequested",
    "apply": "ApplyRequested",
    "checks": "ChecksRequested",
    "landing": "IntegrationRequested",
}
CLAIMS_BEFORE = {"build": 1, "audit": 2, "checks": 4}
"""How many claims there are before the one of the stage; apply and landing are too quick to be held."""


def _cancel(run_id: str) -> Any:
    return submitted("RunCancelRequested", {"reason": f"during {run_id}"}, run_id, "shop")


async def test_a_run_is_cancelled_at_every_stage(log_settings: Settings, tmp_path: Path) -> None:
    repo, gate, audits = repository(tmp_path / "repo"), Gate(tmp_path), Gate(tmp_path, "audits")
    for run_id in STAGES:
        if run_id != "build":
            gate.open(run_id, "P1")
        if run_id != "audit":
            audits.open(run_id, "P1")
    settings = log_settings.model_copy(update={"builders_at_once": 8, "verifiers_at_once": 8})
    async with running(settings, gate.agent(), audits.agent(APPROVES)) as build:
        await build.log.submit(Topic.COMMANDS, [_started(repo, "prepare"), _cancel("prepare")])
        for run_id in STAGES:
            await build.start(request(repo, AUDITED, run_id=run_id, checks=HANGS if run_id == "checks" else None))
        await asyncio.gather(*(_cancelled_at(build, run_id) for run_id in STAGES))
        runs = ("prepare", *STAGES)
        ends = {run_id: (await build.end(run_id))["data"] for run_id in runs}
        histories = {run_id: await build.history(run_id) for run_id in runs}
    assert {end["state"] for end in ends.values()} == {"DONE_FAILED_CANCELLED"}
    assert {run_id: end["reason"] for run_id, end in ends.items()} == {r: f"during {r}" for r in runs}
    assert gate.waiting() == audits.waiting() == []
    for run_id, history in histories.items():
        assert names(history)[-1] == "RunFailed"
        landed = "SnapshotCreated" in names(history)
        branch = git(repo, "branch", "--list", "--format=%(objectname)", f"autonomous/{run_id}")
        assert branch == (ends[run_id]["head_commit"] if landed else "")
    assert "AuditCompleted" not in names(histories["audit"])
    assert "PhaseSkipped" in names(histories["build"])


def _started(repo: Path, run_id: str) -> Any:
    return submitted("RunRequested", request(repo, run_id=run_id), run_id, "shop")


async def _cancelled_at(build: Build, run_id: str) -> None:
    """Cancel a run when its stage has begun, and where that can be held, when a worker is at it."""
    claims = CLAIMS_BEFORE.get(run_id)

    def begun(history: list[dict[str, Any]]) -> bool:
        if STAGES[run_id] not in names(history):
            return False
        return claims is None or names(history).count("WorkStarted") > claims

    await until(build, begun, run_id)
    await build.log.submit(Topic.COMMANDS, [_cancel(run_id)])
