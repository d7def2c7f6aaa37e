"""Builders that join while agents run: work stays with whoever claimed it, wherever its partition goes."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import psutil

from services.compose import Service
from services.settings import Settings
from support.builds import WORKERS, Build, names, repository, request, running
from support.gates import Gate, builds_claimed

BUILDERS = frozenset({Service.BUILDER})
PARTITIONS = 6
RUNS = (("run-1", "shop"), ("run-2", "mill"), ("run-3", "yard"))
"""Their partitions are 0, 2 and 5: both of two builders have some, and a third is given some, whoever is first."""


def _agents(gate: Gate) -> set[int]:
    """The agents that wait at the gate, without the processes of their sandboxes."""
    return {pid for pid in gate.waiting() if psutil.Process(pid).cmdline()[:1] == [sys.executable]}


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.02)


def _facts(build: Build) -> Mapping[str, int | str]:
    """What a builder says of its own: its partitions, and the requests there that it does not work on."""
    return build.application.statuses[Service.BUILDER].facts


async def test_no_agent_is_started_twice_or_killed_when_a_third_builder_joins_two_at_work(
    log_settings: Settings, tmp_path: Path
) -> None:
    settings, gate = log_settings.model_copy(update={"partitions": PARTITIONS}), Gate(tmp_path)
    repo, agent = repository(tmp_path / "repo"), gate.agent()
    async with AsyncExitStack() as stack:

        async def joined() -> Build:
            builder = await stack.enter_async_context(running(settings, agent, services=BUILDERS))
            await _until(lambda: int(_facts(builder).get("partitions", 0)) > 0)
            return builder

        others = await stack.enter_async_context(running(settings, services=WORKERS - BUILDERS))
        first, second = await joined(), await joined()
        await _until(lambda: [_facts(one)["partitions"] for one in (first, second)] == [3, 3])
        for run_id, project in RUNS:
            await others.start(request(repo, run_id=run_id, project=project))
        await _until(lambda: len(_agents(gate)) == len(RUNS))
        agents = _agents(gate)
        await _until(lambda: all(int(_facts(one)["running"]) > 0 for one in (first, second)))
        third = await joined()
        await _until(lambda: int(_facts(third)["waiting"]) > 0)
        assert (_agents(gate), _facts(third)["running"]) == (agents, 0)
        gate.open_all()
        for run_id, project in RUNS:
            assert (await others.end(run_id, project))["data"]["state"] == "DONE_SUCCESS"
            history = await others.history(run_id, project)
            assert builds_claimed(history) == ["P1"]
            assert names(history).count("BuildSucceeded") == 1
