"""Where there is much to read, processes help to make a table again; what becomes of them does not matter."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from benchmarks.histories import fill, projects_over, records_of, write
from msgspec import structs
from structlog.testing import capture_logs

from events.catalogue import Topic
from events.log.port import EventLog, Place
from projections import filling
from projections.catalogue import PROJECTIONS
from projections.database import Pool, install, open_pool
from projections.filling import FILLERS, SCHEMA_PREFIX, Share
from projections.folding import ProjectionStopped
from projections.rebuild import rebuild
from projections.runs import RUNS
from servers.kafka import KafkaBroker
from services.logs import open_log
from services.rebuilding import helper, helpers
from services.rebuilding.asking import written
from services.servers import Servers
from services.settings import Settings
from support.histories import success
from support.tables import all_rows

PARTITIONS = 4
EVENTS = 400
LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Where:
    """A log with a history, and where it is."""

    log: EventLog
    settings: Settings
    servers: Servers


class Watched(helper.ProcessHelper):
    """Remembers its share, and how far its process came with that, as the fresh table says."""

    def __init__(self, where: Where, pool: Pool) -> None:
        super().__init__(where.settings, where.servers)
        self._pool = pool
        self.asked: dict[int, int] = {}
        self.came_to: dict[int, int] = {}

    async def fill(self, share: Share) -> None:
        self.asked = {place.partition: target for place, target in share.targets.items()}
        await super().fill(share)
        self.came_to = await came_to(self._pool, self.asked)


class Held(Watched):
    """Its process comes to the end of one partition, and waits for us at another until it is ended."""

    def __init__(self, where: Where, pool: Pool) -> None:
        super().__init__(where, pool)
        self.is_held = asyncio.Event()

    async def fill(self, share: Share) -> None:
        *_, last = share.targets
        statement = (
            f"INSERT INTO {FRESH}.projection_checkpoints (projection, version, topic, partition, next_offset) "
            "VALUES ($1, $2, $3, $4, 0)"
        )
        async with self._pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(statement, RUNS.name, RUNS.version, last.topic, last.partition)
            holding = asyncio.create_task(self._hold(share, last.partition))
            try:
                await super().fill(share)
            finally:
                await transaction.rollback()  # and whoever the server still has of the dead goes on
                await holding

    async def _hold(self, share: Share, last: int) -> None:
        wanted = {place.partition: target for place, target in share.targets.items()} | {last: 0}
        async with asyncio.timeout(20):
            while await came_to(self._pool, wanted) != wanted or not await self._pool.fetch(WAITING):
                await asyncio.sleep(LOOK_SECONDS)
        self.is_held.set()


FRESH = f'"{SCHEMA_PREFIX}{RUNS.name}"'
WAITING = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"


async def came_to(pool: Pool, partitions: Iterable[int]) -> dict[int, int]:
    """How far the fresh table is there."""
    standing = f"SELECT partition, next_offset FROM {FRESH}.projection_checkpoints"
    rows = {row["partition"]: row["next_offset"] for row in await pool.fetch(standing)}
    return {partition: rows.get(partition, 0) for partition in partitions}


def processes() -> list[psutil.Process]:
    """Helpers that we have started and that live."""
    own = psutil.Process().children()
    return [one for one in own if one.is_running() and "services.rebuilding" in one.cmdline()]


@pytest.fixture(autouse=True)
def _much_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "WORTH_HELPING", EVENTS // PARTITIONS)


@asynccontextmanager
async def filled(settings: Settings, servers: Servers) -> AsyncIterator[Where]:
    log = await open_log(settings, servers)
    await fill(log, EVENTS)
    yield Where(log, settings, servers)
    await log.close()


@pytest.fixture
async def where(database_url: str) -> AsyncIterator[Where]:
    async with filled(Settings(partitions=PARTITIONS), Servers(database_url, database_url)) as where:
        yield where


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database_url, most_connections=FILLERS + 1)
    async with pool.acquire() as connection:
        await install(connection, PROJECTIONS)
    yield pool
    await pool.close()


async def made_alone(log: EventLog, pool: Pool) -> dict[str, list[object]]:
    """The rows as one process makes them, and nothing of them is left."""
    await rebuild(pool, log, RUNS)
    rows = await all_rows(pool)
    assert len(rows[RUNS.table]) > 0
    await pool.execute(f"DELETE FROM {RUNS.table}")
    return rows


async def _filled_its_share(where: Where, pool: Pool) -> None:
    alone = await made_alone(where.log, pool)
    watched = Watched(where, pool)
    with capture_logs() as told:
        rebuilt = await rebuild(pool, where.log, RUNS, helpers=[watched])
    assert told == []
    assert await all_rows(pool) == alone
    assert rebuilt.only_fresh == rebuilt.rows == len(alone[RUNS.table])
    assert len(watched.asked) == PARTITIONS // 2
    assert watched.came_to == watched.asked


async def test_a_helper_fills_its_share_and_the_table_is_the_same(where: Where, pool: Pool) -> None:
    await _filled_its_share(where, pool)


async def test_so_it_does_from_kafka(database_url: str, kafka_broker: KafkaBroker, pool: Pool) -> None:
    settings = Settings(partitions=PARTITIONS, topic_prefix=f"helped-{uuid4().hex[:8]}-")
    async with filled(settings, Servers(f"kafka://{kafka_broker.bootstrap}", database_url)) as where:
        await _filled_its_share(where, pool)


async def test_what_a_killed_helper_has_left_is_filled_here(where: Where, pool: Pool) -> None:
    alone = await made_alone(where.log, pool)
    held = Held(where, pool)
    with capture_logs() as told:
        rebuilding = asyncio.create_task(rebuild(pool, where.log, RUNS, helpers=[held]))
        await held.is_held.wait()
        (process,) = processes()
        process.send_signal(signal.SIGKILL)
        await rebuilding
    assert await all_rows(pool) == alone
    assert sorted(end == held.asked[partition] for partition, end in held.came_to.items()) == [False, True]
    assert [(one["event"], one["code"]) for one in told] == [("helper ended early", -signal.SIGKILL)]


async def test_a_helper_that_cannot_reach_the_servers_says_so_and_is_not_needed(where: Where, pool: Pool) -> None:
    alone = await made_alone(where.log, pool)
    nowhere = "postgresql://nobody@127.0.0.1:9/none"
    with capture_logs() as told:
        lost = Watched(replace(where, servers=Servers(nowhere, nowhere)), pool)
        await rebuild(pool, where.log, RUNS, helpers=[lost])
    assert await all_rows(pool) == alone
    assert [(one["event"], one["code"]) for one in told] == [("helper ended early", 1)]
    assert told[0]["said"].startswith("LogUnavailable: ")


async def test_where_no_process_can_be_started_all_is_filled_here(
    where: Where, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = await made_alone(where.log, pool)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with capture_logs() as told:
        await rebuild(pool, where.log, RUNS, helpers=[Watched(where, pool)])
    assert await all_rows(pool) == alone
    assert [(one["event"], one["code"]) for one in told] == [("helper ended early", None)]


class Emptying:
    """Fills nothing, and empties all that we have filled."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def fill(self, share: Share) -> None:
        theirs = {place.partition for place in share.targets}
        ours = [partition for partition in range(PARTITIONS) if partition not in theirs]
        async with asyncio.timeout(20):
            while min((await came_to(self._pool, ours)).values()) < EVENTS // PARTITIONS // 2:
                await asyncio.sleep(LOOK_SECONDS)
        for table in ("projection_checkpoints", "projection_heads", RUNS.table):
            await self._pool.execute(f"DELETE FROM {FRESH}.{table}")


async def test_in_the_end_what_stands_in_the_table_counts_and_not_what_was_filled(
    where: Where, pool: Pool
) -> None:
    alone = await made_alone(where.log, pool)
    await rebuild(pool, where.log, RUNS, helpers=[Emptying(pool)])
    assert await all_rows(pool) == alone


@pytest.mark.parametrize("partition", range(PARTITIONS))
async def test_where_the_fold_cannot_pass_it_is_said_as_without_a_helper(
    partition: int, where: Where, pool: Pool
) -> None:
    (first, *_) = records_of(success(), "odd", projects_over(PARTITIONS)[partition])
    value = first.value.replace(b".v1", b".v99")
    odd = structs.replace(first, value=value, headers={"run": b"odd", "type": b"x.v99"})
    await write(where.log, partition, iter([odd]))
    with pytest.raises(ProjectionStopped) as alone:
        await rebuild(pool, where.log, RUNS)
    watched = Watched(where, pool)
    with capture_logs() as told, pytest.raises(ProjectionStopped) as helped:
        await rebuild(pool, where.log, RUNS, helpers=[watched])
    assert helped.value.error == alone.value.error
    codes = [one["code"] for one in told if one["event"] == "helper ended early"]
    assert codes in ([[1], [-signal.SIGKILL]] if partition in watched.asked else [[], [-signal.SIGKILL]])
    assert processes() == []


async def test_given_up_in_its_midst_it_leaves_no_process(where: Where, pool: Pool) -> None:
    held = Held(where, pool)
    rebuilding = asyncio.create_task(rebuild(pool, where.log, RUNS, helpers=[held]))
    await held.is_held.wait()
    rebuilding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rebuilding
    assert processes() == []
    schemas = await pool.fetch("SELECT 1 FROM pg_namespace WHERE nspname LIKE $1 || '%'", SCHEMA_PREFIX)
    assert schemas == []


async def test_it_ends_with_those_who_asked_however_they_die(where: Where, pool: Pool) -> None:
    share = Share(RUNS.name, {Place(Topic.EVENTS, 0): EVENTS})
    async with pool.acquire() as connection:
        await connection.execute(f"CREATE SCHEMA {FRESH}")
        await connection.execute(f"SET search_path TO {FRESH}")
        await install(connection, [RUNS])
        async with connection.transaction():
            await connection.execute("LOCK TABLE projection_checkpoints")  # so it is in the midst of its work
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "services.rebuilding"),
                stdin=asyncio.subprocess.PIPE,
            )
            assert process.stdin is not None
            process.stdin.write(written(where.settings, where.servers, share))
            async with asyncio.timeout(20):
                while not await pool.fetch("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'relation'"):
                    await asyncio.sleep(LOOK_SECONDS)
            process.stdin.close()  # as the system does for the dead
            async with asyncio.timeout(10):
                assert await process.wait() == 1
        await connection.execute("RESET search_path")


def test_there_is_one_for_each_processor_but_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = Settings(home=tmp_path), Servers("", "")
    for processors, wanted in ((1, 0), (2, 1), (3, 2), (64, helper.MOST_HELPERS)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=processors: set(range(n)), raising=False)
        assert len(helpers(*given)) == wanted
