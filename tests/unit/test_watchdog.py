"""Who stands still with something left to read is not ready, whatever it says of itself."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import pytest

from events.catalogue import Topic
from events.log.port import LogUnavailable, NewRecord, Place, StoredRecord
from services import watchdog as module
from services.runner.runner import Runner, RunnerSettings
from services.status import ServiceStatus
from services.supervisor.judging import Limits
from services.supervisor.snapshots import Snapshots
from services.supervisor.supervisor import Supervisor
from services.watchdog import LOOK_SECONDS, STILL_SECONDS, Reader, Watchdog, watched
from support.memory_log import MemoryLog, MemoryTail
from support.stage import Doer, Store

PLACE = Place(Topic.EVENTS, 0)


class Watching:
    """A watchdog over one reader, who says himself that he is ready, and the clock that it goes by."""

    def __init__(self, log: MemoryLog) -> None:
        self.now = 0.0
        self.status = ServiceStatus("reader")
        self.status.ready()
        self.at: dict[Place, int] = {PLACE: 0}
        self.watchdog = Watchdog(log, self.status, lambda: self.at, STILL_SECONDS, lambda: self.now)

    async def looks(self) -> str | None:
        """What is in the way after looks for so long that it could have gone on."""
        await self.watchdog.look()
        for _ in range(2 * int(STILL_SECONDS / LOOK_SECONDS)):
            self.now += LOOK_SECONDS
            await self.watchdog.look()
        return self.status.trouble


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def watching(log: MemoryLog) -> Watching:
    return Watching(log)


async def test_with_nothing_left_to_read_it_is_ready(watching: Watching, log: MemoryLog):
    log.write(PLACE, NewRecord("shop", b"{}"))
    watching.at = {PLACE: 1}
    assert await watching.looks() is None
    log.write(PLACE, NewRecord("shop", b"{}"))
    await watching.watchdog.look()
    assert watching.status.is_ready, "what has just come may take a while"


async def test_where_it_stands_still_is_said_until_it_goes_on(watching: Watching, log: MemoryLog):
    for _ in range(3):
        log.write(PLACE, NewRecord("shop", b"{}"))
    watching.at = {PLACE: 1}
    assert await watching.looks() == "stands still in autopack.events, partition 0, at offset 1 of 3"
    watching.at = {PLACE: 2}
    await watching.watchdog.look()
    assert watching.status.is_ready
    assert await watching.looks() is not None
    watching.at = {}
    await watching.watchdog.look()
    assert watching.status.is_ready, "the place is somebody else's now"


async def test_offsets_that_hold_no_record_are_nothing_left(
    watching: Watching, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
):
    reads: list[int] = []

    async def ends(_: Topic) -> Mapping[int, int]:
        return {0: len(log.records[PLACE]) + 1}

    async def read(place: Place, start: int, end: int | None = None) -> Sequence[StoredRecord]:
        reads.append(start)
        return await MemoryLog.read(log, place, start, end)

    monkeypatch.setattr(log, "ends", ends)
    monkeypatch.setattr(log, "read", read)
    assert await watching.looks() is None
    assert await watching.looks() is None
    assert reads == [0], "it is looked up once"
    log.write(PLACE, NewRecord("shop", b"{}"))
    assert await watching.looks() == "stands still in autopack.events, partition 0, at offset 0 of 2"


async def test_while_the_log_is_away_the_service_speaks_for_itself_and_afterwards_has_its_time(
    watching: Watching, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    log.write(PLACE, NewRecord("shop", b"{}"))
    assert await watching.looks() is not None
    looks = 0

    async def ends(topic: Topic) -> Mapping[int, int]:
        nonlocal looks
        found = await MemoryLog.ends(log, topic)
        looks += 1
        return found

    monkeypatch.setattr(log, "ends", ends)
    task = asyncio.create_task(watching.watchdog.run())
    try:
        log.away = True
        watching.status.unavailable("the log is away")
        await until(lambda: watching.status.trouble == "the log is away")
        log.away = False
        watching.status.ready()
        await until(lambda: looks > 3)
        watching.now += STILL_SECONDS / 2
        await until(lambda: looks > 6)
        assert watching.status.is_ready
        watching.now += STILL_SECONDS / 2
        await until(lambda: watching.status.trouble is not None)
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_time_in_which_nobody_looked_does_not_count(watching: Watching, log: MemoryLog):
    """All of us may have been stopped: positions are old, and what has come meanwhile is there to be read."""
    await watching.watchdog.look()
    log.write(PLACE, NewRecord("shop", b"{}"))
    await watching.watchdog.look()
    watching.now += 2 * STILL_SECONDS
    await watching.watchdog.look()
    assert watching.status.is_ready


async def test_whoever_moves_while_the_ends_are_asked_for_does_not_stand_still(
    watching: Watching, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
):
    log.write(PLACE, NewRecord("shop", b"{}"))
    await watching.watchdog.look()
    for _ in range(int(STILL_SECONDS / LOOK_SECONDS) - 1):
        watching.now += LOOK_SECONDS
        await watching.watchdog.look()
    watching.now += LOOK_SECONDS

    async def ends(topic: Topic) -> Mapping[int, int]:
        watching.at = {PLACE: 1}
        return await MemoryLog.ends(log, topic)

    monkeypatch.setattr(log, "ends", ends)
    await watching.watchdog.look()
    assert watching.status.is_ready


async def test_what_cannot_be_read_though_it_is_there_is_no_gap(
    watching: Watching, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
):
    log.write(PLACE, NewRecord("shop", b"{}"))

    async def read(place: Place, start: int, end: int | None = None) -> Sequence[StoredRecord]:
        raise LogUnavailable("this partition is")

    monkeypatch.setattr(log, "read", read)
    assert await watching.looks() == "stands still in autopack.events, partition 0, at offset 0 of 1"


def supervisor(log: MemoryLog, status: ServiceStatus) -> Reader:
    return Supervisor(log, Snapshots(Store(), "log"), Limits(), status)


def worker(log: MemoryLog, status: ServiceStatus) -> Reader:
    return Runner(log, Doer("builder"), Store(), RunnerSettings(), status)


@pytest.mark.parametrize(
    ("make", "topic"), [(supervisor, Topic.RESULTS), (worker, Topic.EVENTS)], ids=["supervisor", "worker"]
)
async def test_a_service_whose_client_brings_nothing_any_more_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[MemoryLog, ServiceStatus], Reader], topic: Topic
):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "STILL_SECONDS", 0.1)
    log, stop = MemoryLog(), asyncio.Event()
    status = ServiceStatus("service")
    hangs = False
    looking = 0
    found = MemoryTail._found

    async def nothing_while_it_hangs(tail: MemoryTail) -> Mapping[Place, Sequence[StoredRecord]]:
        nonlocal looking
        if hangs:
            return {}
        looking += 1
        try:
            return await found(tail)
        finally:
            looking -= 1

    monkeypatch.setattr(MemoryTail, "_found", nothing_while_it_hangs)
    task = asyncio.create_task(watched(log, status, make(log, status))(stop))
    try:
        await until(lambda: status.is_ready)
        hangs = True
        await until(lambda: not looking)  # whoever looks already would find what is written now
        log.write(Place(topic, 0), NewRecord("shop", b"no event at all"))
        await until(lambda: status.trouble is not None)
        assert status.trouble == f"stands still in {topic}, partition 0, at offset 0 of 1"
        hangs = False
        log.wake()
        await until(lambda: status.trouble is None or "unreadable" in status.trouble)
    finally:
        stop.set()
        log.wake()
        await asyncio.wait_for(task, 10)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)
