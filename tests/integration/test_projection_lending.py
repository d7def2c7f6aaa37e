"""A connection lent for a time is cut when the time is over, whatever the server makes of being asked to stop."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from projections.database import lent, open_pool


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
async def deaf_url(database_url: str) -> AsyncIterator[str]:
    """The database, behind an address where one connection is let through: to all others nobody listens.

    So what the driver asks on another connection, to stop a statement, is never heard.
    """
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
        yield f"postgresql://{parts.username}@127.0.0.1:{server.sockets[0].getsockname()[1]}{parts.path}"
        for task in relays:
            task.cancel()


async def test_a_transaction_that_is_overdue_is_not_rolled_back_but_cut(database_url: str, deaf_url: str) -> None:
    holder = await asyncpg.connect(database_url)
    await holder.execute("CREATE TABLE held (number integer)")
    pool = await open_pool(deaf_url, most_connections=1)
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
