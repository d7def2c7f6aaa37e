"""A connection lent for a time is cut when the time is over, whatever the server makes of being asked to stop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from projections.catalogue import PROJECTIONS
from projections.database import install, lent, open_pool


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@dataclass(frozen=True)
class Deaf:
    """The database, behind an address where one connection is let through: to all others nobody listens.

    So what the driver asks on another connection, to stop a statement, is never heard.
    """

    url: str
    relays: Sequence[asyncio.Task[None]]

    def fall_silent(self) -> None:
        """Carry nothing any more, on that one connection too, which stands all the same."""
        for task in self.relays:
            task.cancel()


@pytest.fixture
async def deaf(database_url: str) -> AsyncIterator[Deaf]:
    parts = urlsplit(database_url)
    asked = parse_qs(parts.query)
    relays: list[asyncio.Task[None]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not relays:
            own_reader, own_writer = await asyncio.open_unix_connection(
                f"{asked['host'][0]}/.s.PGSQL.{asked['port'][0]}"
            )
            relays.append(asyncio.create_task(relay(reader, own_writer)))
            relays.append(asyncio.create_task(relay(own_reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        deaf = Deaf(f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}", relays)
        yield deaf
        deaf.fall_silent()


async def test_a_transaction_that_is_overdue_is_not_rolled_back_but_cut(database_url: str, deaf: Deaf) -> None:
    holder = await asyncpg.connect(database_url)
    await holder.execute("CREATE TABLE held (number integer)")
    pool = await open_pool(deaf.url, most_connections=1)
    async with holder.transaction():
        await holder.execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
        async with asyncio.timeout(20):
            with pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"):
                async with lent(pool, 0.2) as connection, connection.transaction():
                    await connection.fetch("SELECT * FROM held")
    pool.terminate()
    await holder.close()


async def test_who_waits_for_a_connection_in_vain_is_told_how_long(database_url: str) -> None:
    pool = await open_pool(database_url, most_connections=1)
    async with lent(pool, 30) as connection:
        with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
            async with lent(pool, 0.1):
                raise AssertionError
        assert await connection.fetchval("SELECT 1") == 1
    await pool.close()


async def test_a_connection_of_a_server_that_was_left_is_given_back_though_nobody_answers(
    deaf: Deaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was lent when another found out that the server takes no writes any more, and is closed in the end."""
    monkeypatch.setattr("projections.database.CLOSING_SECONDS", 0.1)
    pool = await open_pool(deaf.url, most_connections=1)
    async with asyncio.timeout(10):
        async with lent(pool) as connection:
            await connection.execute("SELECT 1")
            await pool.expire_connections()
            deaf.fall_silent()
    pool.terminate()


async def test_making_tables_that_is_given_up_waits_for_no_server(database_url: str, deaf: Deaf) -> None:
    holder = await asyncpg.connect(database_url)
    await holder.execute("SELECT pg_advisory_lock(7226512071)")
    pool = await open_pool(deaf.url, most_connections=1)
    async with asyncio.timeout(10), lent(pool) as connection:
        installing = asyncio.create_task(install(connection, PROJECTIONS))
        await asyncio.sleep(0.2)
        deaf.fall_silent()
        installing.cancel()
        await asyncio.wait({installing})
        assert installing.cancelled()
    pool.terminate()
    await holder.close()
