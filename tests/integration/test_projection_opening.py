"""Opening the database of the read models: whoever waits for it is told why, and its tables are made once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from projections import installation, opening
from projections.catalogue import PROJECTIONS
from projections.database import install
from projections.opening import DatabaseUnavailable, DatabaseUnfit, LazyPool, lazy_pool, reach
from services.awaiting import Awaited


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take whatever comes, and say nothing."""
    await reader.read()
    writer.close()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[LazyPool]:
    database = await lazy_pool(url, PROJECTIONS, most_connections=2)
    try:
        yield database
    finally:
        await database.close()


def slowed(monkeypatch: pytest.MonkeyPatch, seconds: float, *faults: Exception) -> Callable[[], int]:
    """Making tables takes so long from now on, and fails first with the faults; how often it was begun."""
    to_come, begun = list(faults), 0

    async def slow(*given: Any) -> None:
        nonlocal begun
        begun += 1
        await asyncio.sleep(seconds)
        if to_come:
            raise to_come.pop(0)
        await install(*given)

    monkeypatch.setattr(installation, "install", slow)
    return lambda: begun


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


def installing() -> bool:
    return any(task.get_name() == "installing" for task in asyncio.all_tasks())


async def test_a_database_that_does_not_answer_is_told_with_the_time_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opening, "LIMIT_SECONDS", 0.1)
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        database = await lazy_pool(f"postgresql://somebody@127.0.0.1:{port}/tables", (), most_connections=1)
        with pytest.raises(DatabaseUnavailable, match=r"the database: no answer within 0\.1 s"):
            await reach(database)
        database.pool.terminate()


async def test_tables_that_take_longer_to_make_than_anybody_waits_are_made_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "LIMIT_SECONDS", 0.5)
    begun = slowed(monkeypatch, 1.2)
    async with opened(database_url) as database:
        with pytest.raises(DatabaseUnavailable, match="the database: making tables and indexes"):
            await reach(database)
        awaited = Awaited("the database", lambda: reach(database), (DatabaseUnavailable,))
        await asyncio.wait_for(awaited.open_patiently(asyncio.Event()), 10)
        assert await database.pool.fetchval("SELECT count(*) FROM runs_v2") == 0
    assert begun() == 1


async def test_what_made_it_impossible_is_told_to_whoever_comes_next_and_then_it_is_tried_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody may be waiting in the very moment."""
    monkeypatch.setattr(opening, "LIMIT_SECONDS", 0.5)
    begun = slowed(monkeypatch, 0.8, asyncpg.InsufficientPrivilegeError("no CREATE for you"))
    async with opened(database_url) as database:
        with pytest.raises(DatabaseUnavailable, match="making tables and indexes"):
            await reach(database)
        await until(lambda: not installing())
        with pytest.raises(DatabaseUnfit, match="no CREATE for you"):
            await reach(database)
        monkeypatch.setattr(opening, "LIMIT_SECONDS", 10.0)
        await reach(database)
    assert begun() == 2


async def test_tables_have_their_own_limit(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "INSTALLING_SECONDS", 0.2)
    slowed(monkeypatch, 600.0)
    async with opened(database_url) as database:
        with pytest.raises(DatabaseUnavailable, match=r"tables and indexes were not made within 0\.2 s"):
            await reach(database)


async def test_closing_ends_the_making_of_tables_and_tells_those_who_wait(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = slowed(monkeypatch, 600.0)
    async with opened(database_url) as database:
        waiting = asyncio.create_task(reach(database))
        await until(lambda: begun() == 1)
    with pytest.raises(DatabaseUnavailable, match="the database is being left"):
        await asyncio.wait_for(waiting, 10)
    assert not installing()
