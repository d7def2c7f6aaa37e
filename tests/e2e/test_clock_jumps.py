"""The log's clock jumps by an hour and by a day while agents work: nothing ends for that."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from services.compose import Service
from services.settings import Settings
from support.builds import WORKERS, Build, names, repository, request, running
from support.gates import Gate, builds_claimed, until
from support.shifted_clock import connected, jump, shift_clock

BUILDERS = frozenset({Service.BUILDER})
SESSION_SECONDS = 6.0


async def _leases(settings: Settings) -> dict[str, datetime]:
    async with connected(str(settings.database)) as connection:
        rows = await connection.fetch("SELECT instance, lease_until FROM autopack_log.members")
    return {row["instance"]: row["lease_until"] for row in rows}


async def _jump_and_look(settings: Settings, by: timedelta) -> None:
    """Have the clock jump, and wait until every member has given more than two signs of life by the new time."""
    await jump(str(settings.database), by)
    async with asyncio.timeout(60):
        for _ in range(3):
            before = await _leases(settings)
            while any(lease == before.get(instance) for instance, lease in (await _leases(settings)).items()):
                await asyncio.sleep(0.05)


async def _assert_built_at_once(build: Build, run_id: str, phases: list[str]) -> None:
    assert (await build.end(run_id))["data"]["state"] == "DONE_SUCCESS"
    history = await build.history(run_id)
    assert builds_claimed(history) == phases
    assert "WorkRevoked" not in names(history)
    assert [event["sequence"] for event in history] == list(range(len(history)))


@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(days=1), -timedelta(hours=1), -timedelta(days=1)])
async def test_no_run_attempt_or_builder_is_given_up_because_the_logs_clock_jumps(
    postgres_settings: Settings, tmp_path: Path, by: timedelta
) -> None:
    settings = postgres_settings.model_copy(update={"session_timeout_seconds": SESSION_SECONDS})
    await shift_clock(str(settings.database))
    repo, gate = repository(tmp_path / "repo"), Gate(tmp_path)
    async with (
        running(settings, gate.agent(), services=WORKERS - BUILDERS) as build,
        running(settings, gate.agent(), services=BUILDERS),
        running(settings, gate.agent(), services=BUILDERS),
    ):
        await build.start(request(repo, 2, max_duration_minutes=30))
        await until(build, lambda history: builds_claimed(history) == ["P1"])
        members = set(await _leases(settings))
        await _jump_and_look(settings, by)
        await build.start(request(repo, run_id="run-2"))
        await until(build, lambda history: builds_claimed(history) == ["P1"], "run-2")
        assert set(await _leases(settings)) == members
        gate.open_all()
        await _assert_built_at_once(build, "run-1", ["P1", "P2"])
        await _assert_built_at_once(build, "run-2", ["P1"])
