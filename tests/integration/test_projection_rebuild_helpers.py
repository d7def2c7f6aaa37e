"""Where there is much to read, processes help to make a table again; what becomes of them does not matter."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from benchmarks.histories import fill, projects_over, records_of, write
from msgspec.structs import replace
from structlog.testing import capture_logs

from events.catalogue import Topic
from events.log.port import Place
from events.log.postgres import PostgresLog
from projections import filling
from projections.catalogue import PROJECTIONS
from projections.database import Pool, install, open_pool
from projections.filling import FILLERS, SCHEMA_PREFIX, Share
from projections.folding import ProjectionStopped
from projections.rebuild import rebuild
from projections.runs import RUNS
from services.rebuilding import helper, helpers
from services.rebuilding.asking import written
from services.servers import Servers
from services.settings import Settings
from support.histories import success
from support.tables import all_rows

PARTITIONS = 4
EVENTS = 400
LOOK_SECONDS = 0.02


class Watched(helper.ProcessHelper):
    """Remembers how far its process came with its share, as the fresh table says."""

    def __init__(self, servers: Servers, pool: Pool, kill: bool = False) -> None:
        super().__init__(Settings(partitions=PARTITIONS), servers)
        self._pool = pool
        self._kill = kill
        self.asked: dict[int, int] = {}
        self.came_to: dict[int, int] = {}

    async def fill(self, share: Share) -> None:
        self.asked = {place.partition: target for place, target in share.targets.items()}
        killing = asyncio.create_task(self._killed()) if self._kill else None
        await super().fill(share)
        if killing is not None:
            await killing
        standing = f'SELECT partition, next_offset FROM "{SCHEMA_PREFIX}{share.projection}".projection_checkpoints'
        rows = {row["partition"]: row["next_offset"] for row in await self._pool.fetch(standing)}
        self.came_to = {partition: rows.get(partition, 0) for partition in self.asked}

    async def _killed(self) -> None:
        while not (found := processes()):
            await asyncio.sleep(LOOK_SECONDS)
        found[0].send_signal(signal.SIGKILL)


def processes() -> list[psutil.Process]:
    """Helpers that we have started and that live."""
    own = psutil.Process().children()
    return [one for one in own if one.is_running() and "services.rebuilding" in one.cmdline()]


@pytest.fixture(autouse=True)
def _much_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "WORTH_HELPING", EVENTS // 2)


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[PostgresLog]:
    log = await PostgresLog.open(database_url, PARTITIONS)
    await fill(log, EVENTS)
    yield log
    await log.close()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database_url, most_connections=FILLERS + 1)
    async with pool.acquire() as connection:
        await install(connection, PROJECTIONS)
    yield pool
    await pool.close()


async def made_alone(log: PostgresLog, pool: Pool) -> dict[str, list[object]]:
    """The rows as one process makes them, and nothing of them is left."""
    await rebuild(pool, log, RUNS)
    rows = await all_rows(pool)
    assert len(rows[RUNS.table]) == len(await pool.fetch(f"SELECT 1 FROM {RUNS.table}")) > 0
    await pool.execute(f"DELETE FROM {RUNS.table}")
    return rows


async def test_a_helper_fills_its_share_and_the_table_is_the_same(
    log: PostgresLog, pool: Pool, database_url: str
) -> None:
    alone = await made_alone(log, pool)
    watched = Watched(Servers(database_url, database_url), pool)
    with capture_logs() as told:
        rebuilt = await rebuild(pool, log, RUNS, helpers=[watched])
    assert told == []
    assert await all_rows(pool) == alone
    assert rebuilt.only_fresh == rebuilt.rows == len(alone[RUNS.table])
    assert len(watched.asked) == PARTITIONS // 2
    assert watched.came_to == watched.asked


async def test_what_a_killed_helper_has_left_is_filled_here(
    log: PostgresLog, pool: Pool, database_url: str
) -> None:
    alone = await made_alone(log, pool)
    watched = Watched(Servers(database_url, database_url), pool, kill=True)
    with capture_logs() as told:
        await rebuild(pool, log, RUNS, helpers=[watched])
    assert await all_rows(pool) == alone
    assert watched.came_to != watched.asked
    assert [(one["event"], one["code"]) for one in told] == [("helper ended early", -signal.SIGKILL)]


async def test_a_helper_that_cannot_reach_the_servers_says_so_and_is_not_needed(
    log: PostgresLog, pool: Pool
) -> None:
    alone = await made_alone(log, pool)
    nowhere = "postgresql://nobody@127.0.0.1:9/none"
    with capture_logs() as told:
        await rebuild(pool, log, RUNS, helpers=[Watched(Servers(nowhere, nowhere), pool)])
    assert await all_rows(pool) == alone
    assert [(one["event"], one["code"]) for one in told] == [("helper ended early", 1)]
    assert told[0]["said"].startswith("LogUnavailable: ")


async def test_where_no_process_can_be_started_all_is_filled_here(
    log: PostgresLog, pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = await made_alone(log, pool)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with capture_logs() as told:
        await rebuild(pool, log, RUNS, helpers=[Watched(Servers(database_url, database_url), pool)])
    assert await all_rows(pool) == alone
    assert [(one["event"], one["code"]) for one in told] == [("helper ended early", None)]


@pytest.mark.parametrize("partition", range(PARTITIONS))
async def test_where_the_fold_cannot_pass_it_is_said_as_without_a_helper(
    partition: int, log: PostgresLog, pool: Pool, database_url: str
) -> None:
    (first, *_) = records_of(success(), "odd", projects_over(PARTITIONS)[partition])
    odd = replace(first, value=first.value.replace(b".v1", b".v99"), headers={"run": b"odd", "type": b"x.v99"})
    await write(log, partition, iter([odd]))
    with pytest.raises(ProjectionStopped) as alone:
        await rebuild(pool, log, RUNS)
    with pytest.raises(ProjectionStopped) as helped:
        await rebuild(pool, log, RUNS, helpers=[Watched(Servers(database_url, database_url), pool)])
    assert helped.value.error == alone.value.error
    assert processes() == []


async def test_given_up_in_its_midst_it_leaves_no_process(log: PostgresLog, pool: Pool, database_url: str) -> None:
    watched = Watched(Servers(database_url, database_url), pool)
    rebuilding = asyncio.create_task(rebuild(pool, log, RUNS, helpers=[watched]))
    async with asyncio.timeout(20):
        while not processes():
            await asyncio.sleep(LOOK_SECONDS)
    rebuilding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rebuilding
    assert processes() == []
    schemas = await pool.fetch("SELECT 1 FROM pg_namespace WHERE nspname LIKE $1 || '%'", SCHEMA_PREFIX)
    assert schemas == []


async def test_it_ends_with_those_who_asked_however_they_die(
    log: PostgresLog, pool: Pool, database_url: str
) -> None:
    share = Share(RUNS.name, "public", {Place(Topic.EVENTS, 0): EVENTS})
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE projection_checkpoints")  # so it is in the midst of its work
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "services.rebuilding"),
            stdin=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(written(Settings(partitions=PARTITIONS), Servers(database_url, database_url), share))
        await until_waited_for(pool)
        process.stdin.close()  # as the system does for the dead
        async with asyncio.timeout(10):
            assert await process.wait() == 1


async def until_waited_for(pool: Pool) -> None:
    """Until somebody waits for our lock."""
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'projection_checkpoints'::regclass"
    async with asyncio.timeout(20):
        while not await pool.fetch(waiting):
            await asyncio.sleep(LOOK_SECONDS)


def test_there_is_one_for_each_processor_but_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = Settings(home=tmp_path), Servers("", "")
    for processors, wanted in ((1, 0), (2, 1), (3, 2), (64, helper.MOST_HELPERS)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=processors: set(range(n)), raising=False)
        assert len(helpers(*given)) == wanted
