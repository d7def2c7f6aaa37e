"""Tails and members on Postgres: woken across processes, and honest about what may have been lost."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import LogUnavailable, Membership, NewRecord, Place, Positions, Step, StoredRecord, Tail
from events.log.postgres import PostgresLog
from events.log.postgres.failures import OUTAGES
from events.log.postgres.server import Pool
from services.embedded.cluster import read_leader
from services.embedded.layout import Layout
from services.embedded.postgres import EmbeddedPostgres

PARTITIONS = 4
HOME = home_partition("shop", PARTITIONS)
NEVER_SECONDS = 3_600.0


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server that is this test's own, to be stopped at once; it comes back by itself."""
    async with EmbeddedPostgres(tmp_path) as server:
        yield server


@pytest.fixture
def looks_are_far_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tails learn of records by being woken alone."""
    monkeypatch.setattr("events.log.postgres.tail.LOOK_SECONDS", NEVER_SECONDS)


def as_from_another_process(url: str) -> str:
    """The same database under another address: nobody in this process is told of what is written there."""
    return f"{url}{'&' if '?' in url else '?'}application_name=another"


async def first_batch(tail: Tail) -> Mapping[Place, Sequence[StoredRecord]]:
    async with asyncio.timeout(20):
        while not (found := await tail.batches(20)):
            pass
    return found


@pytest.mark.usefixtures("looks_are_far_apart")
async def test_a_notification_wakes_a_tail_of_another_process(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    other = await PostgresLog.open(as_from_another_process(database_url), PARTITIONS)
    tail, place = log.tail(), Place(Topic.RESULTS, HOME)
    tail.follow(place, 0)
    await tail.batches(0)
    for number in range(5):
        waiting = asyncio.create_task(first_batch(tail))
        await other.submit(Topic.RESULTS, [NewRecord("shop", f"{number}".encode())])
        assert [r.value for r in (await waiting)[place]] == [f"{number}".encode()]
    await other.close()
    await log.close()


@pytest.mark.usefixtures("looks_are_far_apart")
async def test_a_step_wakes_those_who_follow_any_of_its_places(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    other = await PostgresLog.open(as_from_another_process(database_url), PARTITIONS)
    writer = await other.take_over(0, "one")
    for place in (Place(Topic.EVENTS, 0), Place(Topic.REJECTIONS, 0)):
        tail = log.tail()
        tail.follow(place, 0)
        await tail.batches(0)
        waiting = asyncio.create_task(first_batch(tail))
        await writer.append(Step([NewRecord("shop", b"x")], [NewRecord("shop", b"y")]))
        assert place in await waiting
        await tail.close()
    await other.close()
    await log.close()


@pytest.mark.usefixtures("looks_are_far_apart")
async def test_a_tail_sleeps_until_an_event_that_it_waits_for_and_brings_the_others_along(
    database_url: str,
) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    other = await PostgresLog.open(as_from_another_process(database_url), PARTITIONS)
    writer, place = await other.take_over(0, "one"), Place(Topic.EVENTS, 0)
    picky, greedy = log.tail(), log.tail()
    picky.follow(place, 0, {"BuildRequested"})
    greedy.follow(place, 0)
    assert not await picky.batches(0)
    assert not await greedy.batches(0)
    waiting = asyncio.create_task(first_batch(picky))
    for value, kind in ((b"a", b"autopack.PhaseStarted.v1"), (b"b", b"autopack.BuildRequested.v1")):
        await writer.append(Step([NewRecord("shop", value, {"type": kind})]))
        assert [record.value for record in (await first_batch(greedy))[place]] == [value]
    assert [record.value for record in (await waiting)[place]] == [b"a", b"b"]
    await other.close()
    await log.close()


@pytest.mark.usefixtures("looks_are_far_apart")
async def test_a_tail_hears_of_places_that_it_follows_later(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    other = await PostgresLog.open(as_from_another_process(database_url), PARTITIONS)
    tail = log.tail()
    tail.follow(Place(Topic.RESULTS, HOME), 0)
    assert not await tail.batches(0)
    later = Place(Topic.COMMANDS, HOME)
    tail.follow(later, 0)
    assert not await tail.batches(0)
    waiting = asyncio.create_task(first_batch(tail))
    await other.submit(Topic.COMMANDS, [NewRecord("shop", b"x")])
    assert later in await waiting
    await other.close()
    await log.close()


async def test_a_tail_that_is_not_woken_looks_by_itself(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    other = await PostgresLog.open(as_from_another_process(database_url), PARTITIONS)
    monkeypatch.setattr(other._means.notifier, "announce", lambda signs: None)
    tail, place = log.tail(), Place(Topic.COMMANDS, HOME)
    tail.follow(place, 0)
    await tail.batches(0)
    await other.submit(Topic.COMMANDS, [NewRecord("shop", b"x")])
    assert place in await first_batch(tail)
    await other.close()
    await log.close()


async def test_a_busy_place_leaves_room_for_quiet_ones_in_the_very_first_batch(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    tail, busy = log.tail(), Place(Topic.RESULTS, HOME)
    for _ in range(12):
        await log.submit(Topic.RESULTS, [NewRecord("shop", b"x" * 600_000)])
    tail.follow(busy, 0)
    quiet = {
        place for n in range(40) for place, _ in await log.submit(Topic.OUTPUT, [NewRecord(f"{n}", b"me too")])
    }
    for place in quiet:
        tail.follow(place, 0)
    first = await first_batch(tail)
    assert len(quiet) == PARTITIONS
    assert quiet < first.keys()
    assert 0 < len(first[busy]) < 12
    rest = (await first_batch(tail))[busy]
    assert [r.offset for r in [*first[busy], *rest]] == list(range(12))
    await log.close()


async def test_whoever_stops_waiting_for_a_tail_loses_no_record(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    tail, place = log.tail(), Place(Topic.RESULTS, HOME)
    await log.submit(Topic.RESULTS, [NewRecord("shop", f"{n}".encode()) for n in range(50)])
    tail.follow(place, 0)
    for yields in range(40):
        task = asyncio.create_task(tail.batches(5))
        for _ in range(yields):
            await asyncio.sleep(0)
        if task.done():
            break
        task.cancel()
        await asyncio.wait({task})
    else:
        task = asyncio.create_task(first_batch(tail))
    assert [r.offset for r in (await task)[place]] == list(range(50))
    await log.close()


async def test_one_lost_connection_ends_the_tails_that_were_there_and_no_later_one(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    tail, place = log.tail(), Place(Topic.RESULTS, HOME)
    tail.follow(place, 0)
    await tail.batches(0)
    waiting = asyncio.create_task(tail.batches(20))
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND (query LIKE 'LISTEN%' OR query LIKE '%bytes_before%')"
        " AND pid <> pg_backend_pid()"
    )
    await connection.close()
    for attempt in (waiting, tail.batches(0), tail.batches(1)):
        with pytest.raises(LogUnavailable):
            await attempt
    await log.submit(Topic.RESULTS, [NewRecord("shop", b"x")])
    tail = log.tail()
    tail.follow(place, 0)
    assert place in await first_batch(tail)
    await log.close()


async def test_nobody_reads_past_an_immediate_stop_with_positions_from_before_it(
    own_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    await keep_unwritten(own_server.url)
    log = await PostgresLog.open(own_server.url, PARTITIONS)
    tail, place = log.tail(), Place(Topic.RESULTS, HOME)
    tail.follow(place, 0)
    await log.submit(Topic.COMMANDS, [NewRecord("shop", b"durable")])
    writer = await log.take_over(0, "one")
    await writer.append(Step([NewRecord("shop", b"durable")], positions=Positions(1, 0)))
    await log.submit(Topic.RESULTS, [NewRecord("shop", f"lost {n}".encode()) for n in range(3)])
    assert len((await first_batch(tail))[place]) == 3
    await stop_at_once(own_server.url, tmp_path)
    with pytest.raises(LogUnavailable):
        await tail.batches(0)
    assert [r.value for r in await log.read(Place(Topic.COMMANDS, HOME), 0)] == [b"durable"]
    assert (await log.take_over(0, "two")).positions == Positions(1, 0)
    assert (await log.ends(Topic.RESULTS))[HOME] == 0, "the records were to be lost, or the test shows nothing"
    await log.submit(Topic.RESULTS, [NewRecord("shop", b"given the offset of another")])
    with pytest.raises(LogUnavailable):
        await tail.batches(0)
    tail = log.tail()
    tail.follow(place, 0)
    assert [r.value for r in (await first_batch(tail))[place]] == [b"given the offset of another"]
    await log.close()


async def test_a_writer_from_before_a_stop_writes_nothing_of_what_it_had_read(
    own_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Its positions would pass over the results that are given the offsets of those that were lost."""
    await keep_unwritten(own_server.url)
    log = await PostgresLog.open(own_server.url, PARTITIONS)
    place = Place(Topic.RESULTS, HOME)
    writer, tail = await log.take_over(HOME, "one"), log.tail()
    await writer.append(Step([NewRecord("shop", b"before")]))
    tail.follow(place, 0)
    await log.submit(Topic.RESULTS, [NewRecord("shop", f"lost {n}".encode()) for n in range(3)])
    assert len((await first_batch(tail))[place]) == 3
    await stop_at_once(own_server.url, tmp_path)
    assert (await log.ends(Topic.RESULTS))[HOME] == 0, "the records were to be lost, or the test shows nothing"
    await log.submit(Topic.RESULTS, [NewRecord("shop", f"other {n}".encode()) for n in range(4)])
    for _ in range(2):
        with pytest.raises(LogUnavailable):
            await writer.append(Step([NewRecord("shop", b"on what was lost")], positions=Positions(0, 3)))
    heir = await log.take_over(HOME, "two")
    assert (heir.positions, heir.end) == (Positions(), 1)
    await heir.append(Step([NewRecord("shop", b"after")], positions=Positions(0, 4)))
    await log.close()


@pytest.mark.parametrize("kind", ["events", "rejections"])
@pytest.mark.parametrize("positions", [Positions(1, 0), Positions(0, 3)])
async def test_no_step_is_written_that_claims_to_have_read_what_is_not_there(
    database_url: str, kind: str, positions: Positions
) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    await log.submit(Topic.RESULTS, [NewRecord("shop", b"x")] * 2)
    writer = await log.take_over(HOME, "one")
    for fault in ("claims to have read what is not in the log", "dropped"):
        with pytest.raises(LogUnavailable, match=fault):
            await writer.append(Step(**{kind: [NewRecord("shop", b"x")]}, positions=positions))
    assert set((await log.ends(Topic.EVENTS)).values()) == set((await log.ends(Topic.REJECTIONS)).values()) == {0}
    heir = await log.take_over(HOME, "two")
    assert heir.positions == Positions()
    await heir.append(Step(**{kind: [NewRecord("shop", b"x")]}, positions=Positions(0, 2)))
    await log.close()


@pytest.mark.parametrize("topic", [Topic.RESULTS, Topic.EVENTS])
async def test_a_tail_does_not_wait_behind_the_end_until_records_have_passed_it_unseen(
    database_url: str, topic: Topic
) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    tail = log.tail()
    tail.follow(Place(topic, HOME), 1)
    with pytest.raises(LogUnavailable, match="ends at 0, and was to be read from 1"):
        await tail.batches(0)
    await log.close()


async def test_a_tail_made_before_a_stop_and_used_first_after_it_is_over_too(
    own_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    log = await PostgresLog.open(own_server.url, PARTITIONS)
    tail = log.tail()
    tail.follow(Place(Topic.RESULTS, HOME), (await log.ends(Topic.RESULTS))[HOME])
    await stop_at_once(own_server.url, tmp_path)
    with pytest.raises(LogUnavailable):
        await tail.batches(0)
    await log.close()


async def test_members_outlast_an_outage_that_is_longer_than_their_leases(database_url: str) -> None:
    lease_seconds = 5.0  # longer than a busy machine makes any of them wait: who is slower than that is expelled
    logs = [await PostgresLog.open(database_url, PARTITIONS, lease_seconds=lease_seconds) for _ in range(3)]
    members = [await log.join("workers") for log in logs]
    instances = [member.instance for member in members]
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE autopack_log.members")
        await asyncio.sleep(2 * lease_seconds)  # the outage itself
    await until_shared_out(members)
    assert [member.instance for member in members] == instances
    assert await members[0].living() == set(instances)
    await connection.close()
    for log in logs:
        await log.close()


async def test_an_expelled_member_owns_nothing_until_it_has_been_told_and_then_joins_anew(
    database_url: str,
) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS, lease_seconds=0.6)
    member = await log.join("workers")
    before = member.instance
    known = await member.changed(frozenset())
    connection = await asyncpg.connect(database_url)
    await connection.execute("DELETE FROM autopack_log.members")
    async with asyncio.timeout(20):
        assert await member.changed(known) == frozenset()
        assert (member.instance, await member.living()) == (before, frozenset())
        assert await member.changed(frozenset()) == known
    assert member.instance != before
    assert await member.living() == {member.instance}
    await connection.close()
    await log.close()


async def test_a_member_renews_its_lease_and_sees_who_is_left_in_one_statement(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS, lease_seconds=0.6)
    member = await log.join("workers")
    asked: list[str] = []
    fetch = Pool.fetch

    async def listening(
        self: Pool, doing: str, statement: str, *arguments: object, losses: int | None = None
    ) -> Any:
        asked.append(statement)
        return await fetch(self, doing, statement, *arguments, losses=losses)

    monkeypatch.setattr(Pool, "fetch", listening)
    async with asyncio.timeout(20):
        while len(asked) < 4:
            await asyncio.sleep(0.02)
    assert all(statement.count("UPDATE autopack_log.members") == 1 for statement in asked)
    assert (await member.living(), member.partitions) == ({member.instance}, frozenset(range(PARTITIONS)))
    await log.close()


async def keep_unwritten(url: str) -> None:
    """Let the server write to disk only when somebody waits for it."""
    connection = await asyncpg.connect(url)
    await connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


async def stop_at_once(url: str, home: Path) -> None:
    """Stop the server as a crash would, so that nothing more is written, and wait until it is back."""
    leader, started = read_leader(Layout.under(home).data), await started_at(url)
    assert leader is not None
    os.kill(leader, signal.SIGQUIT)
    async with asyncio.timeout(60):
        while await started_at(url) in (None, started):
            await asyncio.sleep(0.05)


async def started_at(url: str) -> object:
    """When the server was started; none while it is down."""
    try:
        connection = await asyncpg.connect(url)
    except OUTAGES:
        return None
    try:
        return await connection.fetchval("SELECT pg_postmaster_start_time()")
    except OUTAGES:
        return None
    finally:
        connection.terminate()


async def until_shared_out(members: Sequence[Membership]) -> None:
    async with asyncio.timeout(20):
        while sorted(p for m in members for p in m.partitions) != list(range(PARTITIONS)):
            await asyncio.sleep(0.02)
