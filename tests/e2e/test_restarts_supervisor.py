"""A partition of the supervisor fails or loses its log: it says so, takes over again, and is ready again."""

import asyncio
from pathlib import Path

import pytest

from events.log.port import LogUnavailable
from services.compose import Service
from services.settings import Settings
from services.status import ServiceStatus
from services.supervisor.partition import PartitionOwner
from support.builds import Build, repository, request, running

SUPERVISING = frozenset({Service.SUPERVISOR, Service.APPLIER})


class Trouble:
    """A step that fails as often as it is told to, and sees what the service says meanwhile."""

    def __init__(self, error: Exception, times: int) -> None:
        self.left = times
        self.error = error
        self.step = PartitionOwner._step

    def put_into(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on steps fail."""
        trouble = self

        async def failing(owner: PartitionOwner, *arguments: object) -> None:
            if trouble.left > 0:
                trouble.left -= 1
                raise trouble.error
            await trouble.step(owner, *arguments)

        monkeypatch.setattr(PartitionOwner, "_step", failing)


async def _until_ready(status: ServiceStatus) -> None:
    async with asyncio.timeout(30):
        while not status.is_ready:
            await asyncio.sleep(0.01)


async def _told(status: ServiceStatus, word: str) -> dict[str, str]:
    """Wait until the service's trouble holds a word; the alarms that stand then."""
    async with asyncio.timeout(30):
        while word not in (status.trouble or ""):
            await asyncio.sleep(0.005)
    return dict(status.alarms)


async def _troubled_start(build: Build, repo: Path, word: str) -> dict[str, str]:
    """Start a run into the trouble; what the service says until it is ready again."""
    status = build.application.statuses[Service.SUPERVISOR]
    await _until_ready(status)
    told = asyncio.create_task(_told(status, word))
    await build.start(request(repo))
    alarms = await told
    await build.until("autopack.RunAccepted.v1")
    await _until_ready(status)
    assert status.alarms == {}
    return alarms


async def test_a_fault_in_a_step_raises_an_alarm_and_the_partition_is_taken_over_again(
    postgres_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Trouble(RuntimeError("a fault of ours"), 2).put_into(monkeypatch)
    async with running(postgres_settings, services=SUPERVISING) as build:
        alarms = await _troubled_start(build, repository(tmp_path / "repo"), "a fault of ours")
    assert list(alarms.values()) == ["RuntimeError: a fault of ours"]


async def test_a_lost_log_is_told_and_the_service_is_ready_again_when_it_is_back(
    postgres_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Trouble(LogUnavailable("the log is away"), 2).put_into(monkeypatch)
    async with running(postgres_settings, services=SUPERVISING) as build:
        alarms = await _troubled_start(build, repository(tmp_path / "repo"), "the log is away")
    assert alarms == {}
