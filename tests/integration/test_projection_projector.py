"""The projector: what it follows, and that it goes on after whatever came in between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit

import pytest

from events.log.partitions import home_partition
from events.log.port import Step
from events.log.postgres.log import PostgresLog
from projections.database import Pool, open_pool
from projections.lane import Lane
from projections.projector import Projector
from support.histories import ListLog, random_history, recorded, success
from support.projecting import (
    Heard,
    caught_up,
    ended,
    is_ready,
    is_troubled,
    new,
    passed,
    running,
    until,
    view,
)
from support.tables import (
    EVENTS,
    HISTORY_READERS,
    all_rows,
    start_at_zero,
    tables_at_zero,
)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


async def test_what_is_written_to_the_postgres_log_shows_soon(database_url: str) -> None:
    pool, log, heard = await open_pool(database_url), await PostgresLog.open(database_url, 2), Heard()
    try:
        history = recorded(success())
        async with running(Projector(pool, log, heard)):
            writer = await log.take_over(home_partition("shop", 2), "supervisor-1")
            for start in range(0, len(history), 7):
                await writer.append(Step(events=new(history[start : start + 7])))
            await until(lambda: ended(pool))
            await until(lambda: caught_up(pool, log))
            seen = await view(pool)
            await writer.close()
        assert (seen.run.state, seen.run.head_commit) == ("DONE_SUCCESS", f"{3:040x}")
        assert [(p.phase_id, p.state, p.builder_attempts) for p in seen.phases] == [
            ("P1", "COMPLETE", 3),
            ("P2", "COMPLETE", 1),
        ]
        assert heard.alarms == {}
    finally:
        await log.close()
        await pool.close()


async def test_a_projector_that_was_expelled_joins_again_and_goes_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one is that stood still, when the one that took its place has gone."""
    monkeypatch.setattr("projections.projector.LOOK_AGAIN_SECONDS", 0.2)
    pool, heard = await open_pool(database_url), Heard()
    log = await PostgresLog.open(database_url, 2, lease_seconds=0.6)
    try:
        history = recorded(success())
        async with running(Projector(pool, log, heard)):
            writer = await log.take_over(home_partition("shop", 2), "supervisor-1")
            await writer.append(Step(events=new(history[:7])))
            await until(lambda: is_ready(heard))
            await until(lambda: caught_up(pool, log))
            await pool.execute("DELETE FROM autopack_log.members WHERE group_name = 'projector'")
            await until(lambda: is_a_member_again(pool))
            await writer.append(Step(events=new(history[7:])))
            await until(lambda: ended(pool))
            await writer.close()
    finally:
        await log.close()
        await pool.close()


async def is_a_member_again(pool: Pool) -> bool:
    return bool(await pool.fetchval("SELECT count(*) FROM autopack_log.members WHERE group_name = 'projector'"))


async def test_a_projector_whose_database_is_silent_in_mid_batch_says_so_and_goes_on_when_it_speaks(
    pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, heard, history = ListLog(), Heard(), recorded(success())
    other = await open_pool(database_url)
    async with running(Projector(pool, log, heard)):
        log.write(history[:10])
        await until(lambda: passed(other, "timeline", 10))
        async with other.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE timeline_v1 IN ACCESS EXCLUSIVE MODE")
            monkeypatch.setattr("projections.lane.WRITING_SECONDS", 0.5)
            heard.troubles.clear()
            log.write(history[10:])
            await until(lambda: is_troubled(heard))
            assert "TimeoutError: no answer within 0.5 s" in heard.troubles
            assert not heard.is_ready
        monkeypatch.setattr("projections.lane.WRITING_SECONDS", 15.0)
        await until(lambda: passed(other, "timeline", len(history)))
        await until(lambda: is_ready(heard))
    assert (await view(other)).run.state == "DONE_SUCCESS"
    await other.close()


async def test_a_projector_whose_connections_are_cut_goes_on_where_it_was(pool: Pool, database_url: str) -> None:
    log, heard, history = ListLog(), Heard(), recorded(success())
    other = await open_pool(database_url)
    async with running(Projector(pool, log, heard)):
        log.write(history[:10])
        await until(lambda: passed(other, "timeline", 10))
        async with other.acquire() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        log.write(history[10:])
        await until(lambda: passed(other, "timeline", len(history)))
        await until(lambda: is_ready(heard))
        assert await other.fetchval("SELECT count(*) FROM timeline_v1") == len(history)
    await other.close()


@asynccontextmanager
async def deafened(url: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Another address of the database, and what makes all connections there are deaf and mute, but not ended."""
    parts = urlsplit(url)
    asked = parse_qs(parts.query)
    ways: list[asyncio.Task[None]] = []
    deaf: set[int] = set()

    async def carry(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if number not in deaf:
                    writer.write(data)
                    await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        socket = f"{asked['host'][0]}/.s.PGSQL.{asked['port'][0]}"
        theirs, ours = await asyncio.open_unix_connection(socket)
        number = len(ways) // 2
        ways.extend(asyncio.create_task(carry(number, *way)) for way in ((reader, ours), (theirs, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        try:
            yield (
                f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}",
                lambda: deaf.update(range(len(ways) // 2)),
            )
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)


async def test_a_connection_that_has_died_in_silence_is_found_out_before_tables_are_made(
    pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.projector.WRITING_SECONDS", 2.0)
    log, heard, history = ListLog(), Heard(), recorded(success())
    async with deafened(database_url) as (url, deafen):
        own = await open_pool(url, most_connections=1)
        async with running(Projector(own, log, heard)):
            await until(lambda: is_ready(heard))
            heard.troubles.clear()
            log.away = True
            await until(lambda: is_troubled(heard))
            deafen()
            log.away = False
            log.write(history)
            await until(lambda: passed(pool, "runs", len(history)))
        assert "TimeoutError: no answer within 2 s" in heard.troubles
        own.terminate()


async def test_a_log_that_is_away_is_waited_for(pool: Pool) -> None:
    log, heard, history = ListLog(), Heard(), recorded(success())
    log.away = True
    async with running(Projector(pool, log, heard)):
        log.write(history)
        await until(lambda: is_troubled(heard))
        log.away = False
        await until(lambda: passed(pool, "runs", len(history)))
        await until(lambda: is_ready(heard))
    assert (await view(pool)).run.state == "DONE_SUCCESS"


async def test_two_projectors_that_believe_a_partition_theirs_fold_each_event_once(pool: Pool) -> None:
    log, history = ListLog(), recorded(success())
    async with running(Projector(pool, log, Heard())), running(Projector(pool, log, Heard())):
        for record in history:
            log.write([record])
            await asyncio.sleep(0)
        await until(lambda: caught_up(pool, log))
    both = await all_rows(pool)
    await start_at_zero(pool)
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    assert await all_rows(pool) == both


async def test_a_projection_that_was_emptied_catches_up_by_itself(pool: Pool) -> None:
    log = ListLog()
    log.write(random_history(5))
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    whole = await all_rows(pool)
    await pool.execute("DELETE FROM tiers_v1")
    await pool.execute("DELETE FROM projection_checkpoints WHERE projection = 'tiers'")
    await pool.execute("DELETE FROM projection_heads WHERE projection = 'tiers'")
    async with running(Projector(pool, log, Heard())):
        await until(lambda: caught_up(pool, log))
        assert await all_rows(pool) == whole
        log.write(recorded(success(), "later"))
        await until(lambda: caught_up(pool, log))
        assert [tier.state for tier in (await view(pool, "later")).tiers] == ["COMPLETE", "COMPLETE"]
