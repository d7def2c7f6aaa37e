"""Services that are told to stop while their log is silent: it keeps no service, and no work beyond its grace."""

import asyncio
from collections.abc import Callable

import pytest

from events.log.port import Membership
from services.runner.runner import Runner, RunnerSettings
from services.status import ServiceStatus
from services.supervisor.judging import Limits
from services.supervisor.snapshots import Snapshots
from services.supervisor.supervisor import Supervisor
from services.watchdog import Reader
from support.memory_log import MemoryLog
from support.stage import Doer, Store, hasten, supervised, until, working

AT_ONCE_SECONDS = 2.0


class SilentLog(MemoryLog):
    """Whoever wants to join a group is never answered."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def join(self, group: str) -> Membership:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody answers")


def a_supervisor(log: MemoryLog) -> Reader:
    return Supervisor(log, Snapshots(Store(), "log"), Limits(), ServiceStatus("supervisor"))


def a_worker(log: MemoryLog) -> Reader:
    return Runner(log, Doer(), Store(), RunnerSettings(grace_seconds=600.0), ServiceStatus("builder"))


@pytest.mark.parametrize("made", [a_supervisor, a_worker])
async def test_who_waits_to_be_let_into_its_group_leaves_at_once(made: Callable[[MemoryLog], Reader]) -> None:
    log, stop = SilentLog(), asyncio.Event()
    running = asyncio.create_task(made(log).run(stop))
    await asyncio.wait_for(log.asked.wait(), 10)
    stop.set()
    await asyncio.wait({running}, timeout=AT_ONCE_SECONDS)
    assert running.done()
    running.result()
    left = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
    assert left == []


async def test_the_grace_of_work_begins_when_its_worker_is_told_to_stop_though_the_log_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hasten(monkeypatch)
    worker, clock, asked = Doer(), asyncio.get_running_loop().time, asyncio.Event()

    async def hanging() -> frozenset[str]:
        asked.set()
        await asyncio.sleep(3.0)
        return frozenset()

    async with supervised() as stage, working(stage, worker, grace_seconds=0.3) as running:
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        monkeypatch.setattr(stage.log.groups["builder"][0], "living", hanging)
        await asyncio.wait_for(asked.wait(), 10)
        told_at = clock()
        running.stop.set()
        await until(lambda: len(worker.killed) == 1)
        assert 0.3 <= clock() - told_at < AT_ONCE_SECONDS
