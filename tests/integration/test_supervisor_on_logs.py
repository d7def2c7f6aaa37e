"""The supervisor on real logs: taken over again and again, and through outages, its history is one story."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from events.catalogue import Topic
from events.codec import HistoryEvent, read_history
from events.configuration import Configuration
from events.envelope import write_submission
from events.event import Event
from events.families.base import EventData
from events.families.build import BuildRequested, BuildSucceeded
from events.families.failure import FailureClass
from events.families.run import PrepareFailed, PrepareRequested, RunCompleted, RunPrepared, RunRequested
from events.families.work import WorkStarted
from events.history import PartitionState, chain, fold
from events.log.kafka import KafkaLog
from events.log.partitions import home_partition
from events.log.port import EventLog, NewRecord, PartitionWriter, Place, Positions, Step, StoredRecord
from events.log.postgres import PostgresLog
from services.embedded.postgres import EmbeddedPostgres
from services.runner.runner import Runner, RunnerSettings
from services.status import ServiceStatus
from services.supervisor import partition as module
from services.supervisor.alarms import PartitionAlarms
from services.supervisor.judging import Limits, history_record
from services.supervisor.partition import PartitionOwner
from services.supervisor.snapshots import Snapshots
from services.supervisor.supervisor import Supervisor
from services.watchdog import Watchdog
from support.scenario import BASE, START, plan
from support.stage import SIDE_BY_SIDE, Doer, Store
from support.standing_still import standing_still

PARTITIONS = 2
HOME = home_partition("shop", PARTITIONS)
HISTORY = Place(Topic.EVENTS, HOME)


@pytest.fixture(params=["postgres", "kafka"])
def opening(request: pytest.FixtureRequest) -> Callable[[], Awaitable[EventLog]]:
    """Opens a fresh log of two partitions, on one server or on the other."""
    if request.param == "postgres":
        url = request.getfixturevalue("database_url")
        return lambda: PostgresLog.open(url, PARTITIONS)
    broker = request.getfixturevalue("kafka_broker")
    return lambda: KafkaLog.open(broker.bootstrap, PARTITIONS, topic_prefix=f"t{uuid4().hex[:12]}.")


@pytest.fixture
async def log(opening: Callable[[], Awaitable[EventLog]]) -> AsyncIterator[EventLog]:
    opened = await opening()
    try:
        yield opened
    finally:
        await opened.close()


async def history(log: EventLog, event_type: type[EventData] | None = None) -> list[HistoryEvent]:
    found: list[HistoryEvent] = []
    start = 0
    while records := await log.read(HISTORY, start):
        found += [read_history(record.value, record.type_name) for record in records]
        start = records[-1].offset + 1
    return [one for one in found if event_type is None or isinstance(one.event.data, event_type)]


async def folded(log: EventLog) -> PartitionState:
    state, start = PartitionState(), 0
    while records := await log.read(HISTORY, start):
        for record in records:
            state = fold(state, record.value, record.type_name)
        start = records[-1].offset + 1
    return state


async def until(log: EventLog, event_type: type[EventData], count: int, seconds: float = 60) -> list[HistoryEvent]:
    async with asyncio.timeout(seconds):
        while len(found := await history(log, event_type)) < count:
            await asyncio.sleep(0.02)
    return found


async def say(log: EventLog, topic: Topic, data: EventData, run_id: str) -> None:
    event = Event(f"{uuid4()}", "/test", run_id, START, data)
    await log.submit(topic, [NewRecord("shop", write_submission(event, "shop"))])


@asynccontextmanager
async def served(log: EventLog, store: Store) -> AsyncIterator[PartitionOwner]:
    """The partition of the project, folded and being served."""
    status = ServiceStatus("supervisor")
    owner = PartitionOwner(log, HOME, "one", Snapshots(store, "log"), Limits(), PartitionAlarms(status, HOME))
    ready = asyncio.Event()
    task = asyncio.create_task(owner.serve(ready.set))
    try:
        async with asyncio.timeout(30):
            while not ready.is_set():
                assert not task.done(), task
                await asyncio.sleep(0.005)
        yield owner
    finally:
        task.cancel()
        await asyncio.wait({task})


@contextmanager
def reads_of_history(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """From where the history is read."""
    starts: list[int] = []
    read = log.read

    async def noted(place: Place, start: int, end: int | None = None) -> Sequence[StoredRecord]:
        starts.extend([start] if place == HISTORY else [])
        return await read(place, start, end)

    with monkeypatch.context() as patch:
        patch.setattr(log, "read", noted)
        yield starts


async def test_taking_over_gives_one_state_with_a_snapshot_without_and_folded_by_anybody(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_EVERY_RECORDS", 5)
    store = Store()
    for number in range(6):
        async with served(log, store):
            await say(log, Topic.COMMANDS, plan(run_id=f"run-{number}"), f"run-{number}")
            asked = await until(log, PrepareRequested, number + 1)
            prepared = RunPrepared(request_id=asked[-1].event.id, base_commit=BASE, configuration=Configuration())
            await say(log, Topic.RESULTS, prepared, f"run-{number}")
            await until(log, BuildRequested, number + 1)
            async with asyncio.timeout(10):
                while number > 0 and not store.values:
                    await asyncio.sleep(0.01)
    with reads_of_history(log, monkeypatch) as starts:
        async with served(log, store) as owner:
            with_snapshot = owner._state
    assert min(starts) > 0
    with reads_of_history(log, monkeypatch) as starts:
        async with served(log, Store()) as owner:
            without = owner._state
    assert min(starts) == 0
    assert with_snapshot == without == await folded(log)
    assert len(await history(log, RunRequested)) == 6


async def test_a_step_of_rejections_alone_is_not_repeated_by_the_next_owner(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DELETE_EVERY_SECONDS", 3_600.0)
    junk, store = Place(Topic.REJECTIONS, HOME), Store()
    await log.submit(Topic.COMMANDS, [NewRecord("shop", b"junk")] * 3)
    for owners in range(3):
        async with served(log, store):
            await log.submit(Topic.RESULTS, [NewRecord("shop", b"junk")])
            async with asyncio.timeout(30):
                while len(await log.read(junk, 0)) < 3 + owners + 1:
                    await asyncio.sleep(0.02)
    writer = await log.take_over(HOME, "two")
    assert writer.positions == Positions(commands=3, results=3)
    await writer.close()
    assert len(await log.read(junk, 0)) == 6


class Answering(Doer):
    """A builder that needs a moment for each patch."""

    async def perform(self, assignment: object) -> object:
        asyncio.get_running_loop().call_later(0.3, lambda: self._finish(assignment))
        return await super().perform(assignment)

    def _finish(self, assignment: object) -> None:
        for number, begun in enumerate(self.begun):
            if begun is assignment and not self.answers[begun.request_id].done():
                self.finish(number)


class Both(NamedTuple):
    """A supervisor and a worker, whose tasks are over only when they are told to stop."""

    services: tuple[Supervisor, Runner]
    statuses: list[ServiceStatus]
    tasks: list[asyncio.Task[None]]


@asynccontextmanager
async def both_services(log: EventLog) -> AsyncIterator[Both]:
    """Both at work as long as the block lasts."""
    statuses = [ServiceStatus("supervisor"), ServiceStatus("builder")]
    stop = asyncio.Event()
    supervisor = Supervisor(log, Snapshots(Store(), "log"), Limits(), statuses[0])
    runner = Runner(log, Answering(), Store(), RunnerSettings(2, 5.0), statuses[1])
    tasks = [asyncio.create_task(service.run(stop)) for service in (supervisor, runner)]
    try:
        yield Both((supervisor, runner), statuses, tasks)
    finally:
        stop.set()
        await asyncio.wait(tasks)
        for task in tasks:
            task.result()


@pytest.fixture
async def own_log(tmp_path: Path) -> AsyncIterator[EventLog]:
    """A log on a server that is this test's own."""
    async with EmbeddedPostgres(tmp_path) as server:
        log = await PostgresLog.open(server.url, PARTITIONS, lease_seconds=3.0)
        try:
            yield log
        finally:
            await log.close()


async def test_a_server_that_stands_still_is_waited_for_and_nothing_is_lost_or_doubled(
    own_log: EventLog, tmp_path: Path
) -> None:
    log = own_log
    async with both_services(log) as (_, statuses, tasks):
        await say(log, Topic.COMMANDS, plan(SIDE_BY_SIDE), "run-1")
        asked = await until(log, PrepareRequested, 1)
        prepared = RunPrepared(request_id=asked[0].event.id, base_commit=BASE, configuration=Configuration())
        await say(log, Topic.RESULTS, prepared, "run-1")
        await until(log, BuildSucceeded, 1)
        with standing_still(tmp_path):
            async with asyncio.timeout(60):
                while any(status.is_ready for status in statuses):
                    await asyncio.sleep(0.05)
        await until(log, BuildSucceeded, len(SIDE_BY_SIDE))
        async with asyncio.timeout(30):
            while not all(status.is_ready for status in statuses):
                await asyncio.sleep(0.05)
        assert not any(task.done() for task in tasks)
    answered = [one.event.data.request_id for one in await history(log, BuildSucceeded)]
    claimed = [one.event.data.request_id for one in await history(log, WorkStarted)]
    assert len(set(answered)) == len(answered) == len(SIDE_BY_SIDE)
    assert set(claimed) == set(answered)
    assert await history(log, RunCompleted) == []
    assert not (await folded(log)).quarantined


async def test_services_that_have_read_all_there_is_are_not_taken_for_standing_still(log: EventLog) -> None:
    async with both_services(log) as both:
        await say(log, Topic.COMMANDS, plan(SIDE_BY_SIDE), "run-1")
        asked = await until(log, PrepareRequested, 1)
        prepared = RunPrepared(request_id=asked[0].event.id, base_commit=BASE, configuration=Configuration())
        await say(log, Topic.RESULTS, prepared, "run-1")
        await until(log, BuildSucceeded, len(SIDE_BY_SIDE))
        for service, status in zip(both.services, both.statuses, strict=True):
            watchdog = Watchdog(log, status, service.read_to, still_seconds=0.3)
            for _ in range(3):
                await watchdog.look()
                await asyncio.sleep(0.5)
            assert status.is_ready, status.trouble
            assert max(service.read_to().values()) > 0


async def test_an_event_that_cannot_be_folded_costs_its_own_run_and_no_other(log: EventLog) -> None:
    """The record decodes and extends its chain: only the rules cannot make anything of it."""
    store = Store()
    async with served(log, store):
        for run_id in ("spoilt", "sound"):
            await say(log, Topic.COMMANDS, plan(run_id=run_id), run_id)
        asked = await until(log, PrepareRequested, 2)
    stray = PrepareFailed(request_id="never-asked", failure=FailureClass.REPOSITORY_MISSING, reason="no")
    event = Event("stray", "/test", "spoilt", START, stray)
    records, _ = chain((await folded(log)).heads, "shop", [event])
    writer = await log.take_over(HOME, "a bug of ours")
    await writer.append(Step(events=[history_record(one) for one in records], positions=writer.positions))
    await writer.close()

    status, stop = ServiceStatus("supervisor"), asyncio.Event()
    supervisor = asyncio.create_task(Supervisor(log, Snapshots(store, "log"), Limits(), status).run(stop))
    try:
        sound = next(one for one in asked if one.event.run_id == "sound")
        prepared = RunPrepared(request_id=sound.event.id, base_commit=BASE, configuration=Configuration())
        await say(log, Topic.RESULTS, prepared, "sound")
        (build,) = await until(log, BuildRequested, 1)
        assert build.event.run_id == "sound"
        async with asyncio.timeout(30):  # the other partition is taken over as well
            while not status.is_ready:
                await asyncio.sleep(0.05)
        (told,) = status.alarms.values()
        assert "run 'spoilt' of 'shop' is in quarantine: record 2 (stray) cannot be folded: KeyError" in told
    finally:
        stop.set()
        await supervisor
    assert list((await folded(log)).quarantined) == [("shop", "spoilt")]


async def test_commands_that_were_deleted_before_they_were_read_are_an_alarm_in_the_status(
    log: EventLog, request: pytest.FixtureRequest
) -> None:
    """The positions stand in the history; what lies between them and the start was never decided."""
    for number in range(3):
        await say(log, Topic.COMMANDS, plan(run_id=f"run-{number}"), f"run-{number}")
    writer = await log.take_over(HOME, "passing all")
    await writer.append(Step(rejections=[NewRecord("shop", b"junk")], positions=Positions(commands=2)))
    await writer.delete_before(Positions(commands=2))
    await writer.close()
    elsewhere = Positions()  # as of an earlier step: what a history that was put back from a backup says
    taken = type(log).take_over

    async def earlier(self: EventLog, partition: int, instance: str) -> PartitionWriter:
        found = await taken(self, partition, instance)
        found._positions = elsewhere
        return found

    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setattr(type(log), "take_over", earlier)
    async with served(log, Store()) as owner:
        found = await until(log, RunRequested, 1)
        assert [one.event.run_id for one in found] == ["run-2"]
        (told,) = owner._alarms._status.alarms.values()
        assert "autopack.commands" in told
        assert "offset 0 was to be read, and the first that is left is 2" in told
