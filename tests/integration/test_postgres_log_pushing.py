"""Records that come with the notification of their commit, on a real Postgres."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import NewRecord, Place, Step, StoredRecord, Tail
from events.log.postgres import PostgresLog
from events.log.postgres.sessions import Session
from events.log.postgres.tail import PostgresTail
from events.log.postgres.wakeups import EVERYTHING
from services.embedded.postgres import EmbeddedPostgres

PARTITIONS = 4
HOME = home_partition("shop", PARTITIONS)
RESULTS, EVENTS = Place(Topic.RESULTS, HOME), Place(Topic.EVENTS, HOME)
NEVER_SECONDS = 3_600.0


@pytest.fixture
async def log(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PostgresLog]:
    """A log whose tails never look by themselves."""
    monkeypatch.setattr("events.log.postgres.tail.LOOK_SECONDS", NEVER_SECONDS)
    log = await PostgresLog.open(database_url, PARTITIONS)
    yield log
    await log.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[Place, int]]:
    """A list that grows with every look at the log."""
    looks: list[Mapping[Place, int]] = []
    look = Session.look

    async def counted(session: Session, positions: Mapping[Place, int]) -> object:
        looks.append(positions)
        return await look(session, positions)

    monkeypatch.setattr(Session, "look", counted)
    return looks


async def followed(log: PostgresLog, *places: Place) -> PostgresTail:
    """A tail that has looked once."""
    tail = log.tail()
    for place in places:
        tail.follow(place, 0)
    await tail.batches(0)
    return tail


async def taken(tail: Tail, place: Place, count: int) -> Sequence[StoredRecord]:
    found: list[StoredRecord] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += (await tail.batches(20)).get(place, ())
    return found


async def test_results_and_events_come_without_being_read_and_are_what_the_log_holds(
    log: PostgresLog, looks: list[Mapping[Place, int]]
) -> None:
    tails = {place: await followed(log, place) for place in (RESULTS, EVENTS)}
    writer = await log.take_over(HOME, "one")
    looks.clear()
    headers = {"type": b"autopack.WorkStarted.v1", "odd": b"\x00\n\x1e"}
    for number in range(3):
        records = [NewRecord("shop", b'{"n":%d}' % (number + n), headers) for n in range(2)]
        await log.submit(Topic.RESULTS, records)
        await writer.append(Step(events=records))
    for place, tail in tails.items():
        assert await taken(tail, place, 6) == list(await log.read(place, 0))
    assert looks == []


async def test_steps_and_results_of_several_partitions_come_to_their_own_places(
    log: PostgresLog, looks: list[Mapping[Place, int]]
) -> None:
    projects = [next(p for n in range(99) if home_partition(p := f"p{n}", PARTITIONS) == at) for at in range(4)]
    places = [Place(topic, at) for topic in (Topic.RESULTS, Topic.EVENTS) for at in range(PARTITIONS)]
    tails = {place: await followed(log, place) for place in places}
    writers = [await log.take_over(at, "one") for at in range(PARTITIONS)]
    looks.clear()
    await log.submit(Topic.RESULTS, [NewRecord(project, b"{}") for project in (*projects, *projects)])
    step = [[NewRecord(projects[at], b"%d" % n) for n in range(at + 1)] for at in range(PARTITIONS)]
    await asyncio.gather(*(writers[at].append(Step(events=step[at])) for at in range(PARTITIONS)))
    for place, tail in tails.items():
        count = 2 if place.topic is Topic.RESULTS else place.partition + 1
        assert await taken(tail, place, count) == list(await log.read(place, 0))
    assert looks == []


@pytest.mark.parametrize("value", [b"x" * 9_000, "ä漢".encode(), b"\x00\xff"])
async def test_what_cannot_be_sent_is_read(
    log: PostgresLog, looks: list[Mapping[Place, int]], value: bytes
) -> None:
    tail = await followed(log, RESULTS)
    looks.clear()
    await log.submit(Topic.RESULTS, [NewRecord("shop", b"{}"), NewRecord("shop", value), NewRecord("shop", b"[]")])
    assert [record.value for record in await taken(tail, RESULTS, 3)] == [b"{}", value, b"[]"]
    assert looks


async def test_after_a_notification_that_was_lost_the_next_one_leads_to_reading(
    log: PostgresLog, database_url: str
) -> None:
    tail, writer = await followed(log, EVENTS), await log.take_over(HOME, "one")
    await writer.append(Step(events=[NewRecord("shop", b"1")]))
    assert [record.value for record in await taken(tail, EVENTS, 1)] == [b"1"]
    await _insert_silently(database_url, b"2")
    await writer.append(Step(events=[NewRecord("shop", b"3")]))
    assert [record.value for record in await taken(tail, EVENTS, 2)] == [b"2", b"3"]


async def _insert_silently(url: str, value: bytes) -> None:
    """A record of which nobody is told."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        """WITH moved AS (UPDATE autopack_log.heads SET next_offset = next_offset + 1
               WHERE topic = 'autopack.events' AND partition = $1 RETURNING next_offset)
           INSERT INTO autopack_log.records
               SELECT 'autopack.events', $1, next_offset - 1, 'shop', $2, '{}', now() FROM moved""",
        HOME,
        value,
    )
    await connection.close()


async def test_nobody_brings_anything_into_the_log_who_cannot_write_to_it(
    log: PostgresLog, database_url: str
) -> None:
    """Everybody in the database may notify on any channel, and some may see which there are."""
    tail = await followed(log, EVENTS)
    stranger = await asyncpg.connect(database_url)
    name = log._sessions._channels.of(EVENTS)
    for text in (
        "0 0 1 BuildRequested\nshop\x1f{}\x1fforged",
        "f" * 64 + " 0 0 1 \nshop\x1f{}\x1fforged",
        "",
        "1",
    ):
        await stranger.execute("SELECT pg_notify($1, $2)", name, text)
    writer = await log.take_over(HOME, "one")
    await writer.append(Step(events=[NewRecord("shop", b"true")]))
    assert [record.value for record in await taken(tail, EVENTS, 1)] == [b"true"]
    await stranger.close()


async def test_a_log_of_before_gets_one_secret_however_many_open_it(database_url: str) -> None:
    await (await PostgresLog.open(database_url, PARTITIONS)).close()
    connection = await asyncpg.connect(database_url)
    await connection.execute("ALTER TABLE autopack_log.settings DROP COLUMN secret")
    logs = await asyncio.gather(*(PostgresLog.open(database_url, PARTITIONS) for _ in range(5)))
    assert len(await connection.fetchval("SELECT secret FROM autopack_log.settings")) == 64
    tail = await followed(logs[0], RESULTS)
    await logs[4].submit(Topic.RESULTS, [NewRecord("shop", b"{}")])
    assert len(await taken(tail, RESULTS, 1)) == 1
    for log in logs:
        await log.close()
    await connection.close()


async def test_what_was_brought_to_a_tail_that_sleeps_is_not_read_again(
    log: PostgresLog, looks: list[Mapping[Place, int]]
) -> None:
    tail, writer = log.tail(), await log.take_over(HOME, "one")
    tail.follow(EVENTS, 0, {"BuildRequested"})
    await tail.batches(0)
    looks.clear()
    waiting = asyncio.create_task(taken(tail, EVENTS, 10))
    for _ in range(10):
        await writer.append(Step(events=[NewRecord("shop", b"{}", {"type": b"autopack.PhaseStarted.v1"})]))
    async with asyncio.timeout(20):
        while tail._inboxes[EVENTS].next < 10:
            await asyncio.sleep(0.01)
    assert not waiting.done()
    log._hub.announce([EVERYTHING])
    assert [record.offset for record in await waiting] == list(range(10))
    assert looks == [{EVENTS: 10}]


async def test_a_tail_that_is_closed_is_brought_nothing(log: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    brought: list[object] = []
    monkeypatch.setattr("events.log.postgres.inbox.Inbox.bring", lambda inbox, pushed: brought.append(pushed))
    tail, stays = await followed(log, RESULTS), await followed(log, RESULTS)
    await tail.close()
    await log.submit(Topic.RESULTS, [NewRecord("shop", b"{}")])
    async with asyncio.timeout(20):
        while not brought:
            await asyncio.sleep(0.01)
    assert len(brought) == 1
    await stays.close()


@pytest.mark.parametrize("strangers", [0, 3_000])
async def test_a_listener_that_has_stopped_does_not_stop_those_who_write(tmp_path: Path, strangers: int) -> None:
    """The server keeps for it what it has not taken, and lets nobody notify when there is no room any more."""
    async with EmbeddedPostgres(tmp_path) as server:
        await _with_a_short_queue(server.url)
    async with EmbeddedPostgres(tmp_path) as server:
        stopped = await asyncpg.connect(server.url)
        await stopped.execute("LISTEN anything")
        await stopped.execute("BEGIN; SELECT 1")
        with suppress(asyncpg.ProgramLimitExceededError):
            for number in range(strangers):
                await stopped.execute("SELECT 1")  # which keeps the transaction open
                await _notify_much(server.url, number)
                if await stopped.fetchval("SELECT pg_notification_queue_usage()") > 0.9:
                    break
        log = await PostgresLog.open(server.url, PARTITIONS)
        tail, writer = await followed(log, EVENTS), await log.take_over(HOME, "one")
        for _ in range(150):
            await writer.append(Step(events=[NewRecord("shop", b"x" * 7_000)]))
            await log.submit(Topic.RESULTS, [NewRecord("shop", b"x" * 7_000)])
        await log.submit(Topic.COMMANDS, [NewRecord("shop", b"{}")])
        assert len(await taken(tail, EVENTS, 150)) == 150
        assert strangers or await stopped.fetchval("SELECT pg_notification_queue_usage()") < 0.5
        await stopped.close()
        await log.close()


async def _notify_much(url: str, number: int) -> None:
    stranger = await asyncpg.connect(url)
    try:
        await stranger.execute(
            "SELECT pg_notify('anything', $1 || n || repeat('x', 7000)) FROM generate_series(1, 20) AS n",
            str(number),
        )
    finally:
        await stranger.close()


async def _with_a_short_queue(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("ALTER SYSTEM SET max_notify_queue_pages = 64")
    await connection.close()
