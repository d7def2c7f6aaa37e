"""The supervisor's shell: partitions come and go, and each task of its own ends when it shall."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from events.catalogue import Topic
from events.log.port import LogUnavailable, NewRecord, Place, Tail
from services.status import ServiceStatus
from services.supervisor import supervisor as module
from services.supervisor.judging import Limits
from services.supervisor.snapshots import Snapshots
from services.supervisor.supervisor import GROUP, Supervisor
from support.memory_log import MemoryLog, MemoryTail


class Nothing:
    """A store that keeps nothing."""

    async def read(self, name: str) -> bytes | None:
        return None

    async def replace(self, name: str, data: bytes) -> None:
        return None

    async def list(self, prefix: str) -> list[str]:
        return []

    async def delete(self, name: str) -> None:
        return None


@asynccontextmanager
async def running(log: MemoryLog) -> AsyncIterator[tuple[ServiceStatus, asyncio.Task[None]]]:
    status = ServiceStatus("supervisor")
    stop = asyncio.Event()
    supervisor = Supervisor(log, Snapshots(Nothing(), "log"), Limits(), status)
    task = asyncio.create_task(supervisor.run(stop))
    try:
        yield status, task
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)
        left = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        assert left == []


async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.002)


def serving_tasks() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("supervisor-")}


def refused(log: MemoryLog, partition: int) -> int:
    return len(log.records[Place(Topic.REJECTIONS, partition)])


async def test_every_partition_of_ours_is_served_and_those_that_are_lost_no_more() -> None:
    log = MemoryLog(4)
    async with running(log) as (status, _):
        await until(lambda: status.is_ready and status.facts["partitions"] == 4)
        other = await log.join(GROUP)
        await until(lambda: status.facts["partitions"] == 2)
        await until(lambda: status.is_ready)
        for partition in range(4):
            log.write(Place(Topic.COMMANDS, partition), NewRecord("", b"junk"))
        await until(lambda: refused(log, 0) == refused(log, 2) == 1)
        assert refused(log, 1) == refused(log, 3) == 0
        await other.leave()
        await until(lambda: refused(log, 1) == refused(log, 3) == 1)


async def test_an_expelled_instance_serves_nothing_until_it_has_joined_again() -> None:
    log = MemoryLog(2)
    async with running(log) as (status, _):
        await until(lambda: status.is_ready and status.facts["partitions"] == 2)
        log.expel(GROUP, "supervisor-1")
        await until(lambda: status.facts["partitions"] == 0)
        log.write(Place(Topic.COMMANDS, 0), NewRecord("", b"junk"))
        await until(lambda: not serving_tasks())
        assert refused(log, 0) == 0


async def test_a_partition_that_fails_while_it_is_given_up_is_not_taken_over_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its failure takes the place of the cancellation: it must not be mistaken for one to begin anew after."""
    failures = 0

    async def failing(tail: Tail) -> None:
        nonlocal failures
        failures += 1
        raise LogUnavailable("the tail does not close")

    monkeypatch.setattr(MemoryTail, "close", failing)
    log = MemoryLog(2)
    async with running(log) as (status, _):
        await until(lambda: status.is_ready and status.facts["partitions"] == 2)
        epochs = dict(log.epochs)
        await log.join(GROUP)
        await until(lambda: failures == 1)
        await until(lambda: serving_tasks() == {"supervisor-0"})
        assert dict(log.epochs) == epochs


async def test_a_log_that_is_away_at_the_start_is_waited_for() -> None:
    log = MemoryLog(1)
    log.away = True
    async with running(log) as (status, task):
        await until(lambda: status.trouble == "the log is away")
        log.away = False
        await until(lambda: status.is_ready and status.facts["partitions"] == 1)
        assert not task.done()


async def test_a_log_that_goes_away_is_waited_for_and_work_goes_on_behind_it() -> None:
    log = MemoryLog(1)
    async with running(log) as (status, _):
        await until(lambda: status.is_ready and status.facts["partitions"] == 1)
        log.away = True
        log.wake()
        await until(lambda: status.trouble is not None)
        log.away = False
        log.write(Place(Topic.COMMANDS, 0), NewRecord("", b"junk"))
        await until(lambda: refused(log, 0) == 1 and status.is_ready)


async def test_cancelled_from_outside_it_leaves_its_group_and_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog(2)
    supervisor = Supervisor(log, Snapshots(Nothing(), "log"), Limits(), ServiceStatus("supervisor"))
    task = asyncio.create_task(supervisor.run(asyncio.Event()))
    await until(lambda: len(log.groups[module.GROUP]) == 1 and bool(log.epochs))
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert log.groups[module.GROUP] == []
    left = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
    assert left == []
