"""A standby takes the place of the server, which goes on answering readers: who writes, or waits, moves over."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from events.catalogue import Topic
from events.log.port import LogUnavailable, NewRecord, Place, Step
from events.log.postgres import PostgresLog
from projections.database import Pool, lent
from projections.projector import Projector
from projections.queries.changes import Changes
from servers.postgres import PostgresServer
from servers.postgres_standby import PostgresStandby, standby_of
from services.status import ServiceStatus
from support.histories import ListLog, recorded, success
from support.projecting import Heard, ended, passed, running, until
from support.tables import tables_at_zero

HISTORY = Place(Topic.EVENTS, 0)
AGAIN_SECONDS = 0.05
PATIENCE_SECONDS = 20.0


@pytest.fixture
async def standby(tmp_path: Path) -> AsyncIterator[PostgresStandby]:
    server = PostgresServer(tmp_path / "first")
    await server.start()
    try:
        async with standby_of(server.url, tmp_path / "second") as standby:
            yield standby
    finally:
        await server.stop()


@pytest.fixture
async def log(standby: PostgresStandby) -> AsyncIterator[PostgresLog]:
    log = await PostgresLog.open(standby.url_of_both, 1)
    yield log
    await log.close()


@pytest.fixture
async def pool(standby: PostgresStandby) -> AsyncIterator[Pool]:
    async with tables_at_zero(standby.url_of_both) as pool:
        yield pool


async def _append(log: PostgresLog, value: bytes) -> None:
    writer = await log.take_over(0, "one")
    await writer.append(Step([NewRecord("shop", value)]))


async def _checked(log: PostgresLog) -> bool:
    try:
        await log.check()
    except LogUnavailable:
        return False
    return True


async def test_a_writer_moves_to_the_server_that_has_taken_over_and_loses_nothing(
    standby: PostgresStandby, log: PostgresLog
) -> None:
    writer = await log.take_over(0, "one")
    await writer.append(Step([NewRecord("shop", b"first")]))
    tail = log.tail()
    tail.follow(HISTORY, 0)
    assert [record.value for record in (await tail.batches(1.0))[HISTORY]] == [b"first"]
    await standby.take_over()
    with pytest.raises(LogUnavailable, match="read-only"):
        await writer.append(Step([NewRecord("shop", b"never")]))
    await _append(log, b"second")
    assert [record.value for record in await log.read(HISTORY, 0)] == [b"first", b"second"]
    with pytest.raises(LogUnavailable, match="lost"):  # it was read on the server that has been left
        await tail.batches(1.0)
    fresh = log.tail()
    fresh.follow(HISTORY, 1)
    assert [record.value for record in (await fresh.batches(1.0))[HISTORY]] == [b"second"]


async def test_whoever_only_reads_the_log_leaves_the_old_server_when_it_is_checked(
    standby: PostgresStandby, log: PostgresLog
) -> None:
    """As the API does every second: it would go on showing what was, and call itself ready."""
    await _append(log, b"first")
    reader = await PostgresLog.open(standby.url_of_both, 1)
    try:
        await reader.check()
        await standby.take_over()
        with pytest.raises(LogUnavailable, match="takes no writes"):
            await reader.check()
        await until(lambda: _checked(reader))
        with pytest.raises(LogUnavailable):
            await log.submit(Topic.COMMANDS, [NewRecord("shop", b"too early")])
        await _append(log, b"second")
        assert [record.value for record in await reader.read(HISTORY, 0)] == [b"first", b"second"]
    finally:
        await reader.close()


async def test_a_projector_goes_on_where_the_other_server_has_taken_over_and_stops_at_nothing(
    standby: PostgresStandby, pool: Pool
) -> None:
    log, heard, history = ListLog(), Heard(), recorded(success())
    log.write(history[:10])
    async with running(Projector(pool, log, heard)):
        await until(lambda: passed(pool, "runs", 10))
        await standby.take_over()
        log.write(history[10:])
        await until(lambda: ended(pool), PATIENCE_SECONDS)
        assert heard.alarms == {}
        assert heard.hindrances == {}
    connection = await asyncpg.connect(standby.url)
    assert await connection.fetchval("SELECT max(next_offset) FROM projection_checkpoints") == len(history)
    await connection.close()


async def test_whoever_waits_for_the_tables_to_change_leaves_the_old_server_by_itself(
    standby: PostgresStandby, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.queries.changes.LOOK_SECONDS", AGAIN_SECONDS)
    monkeypatch.setattr("projections.queries.changes.POLL_SECONDS", AGAIN_SECONDS)
    listening = asyncio.create_task(Changes(pool).listen(ServiceStatus("api")))
    try:
        await standby.take_over()
        await until(lambda: _takes_writes(pool))
    finally:
        listening.cancel()
        await asyncio.wait({listening})


async def _takes_writes(pool: Pool) -> bool:
    async with lent(pool) as connection:
        return await connection.fetchval("SHOW transaction_read_only") == "off"
