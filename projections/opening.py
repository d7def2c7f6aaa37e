"""Opening the database of the read models for services, which may start before it does."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from projections.database import POOL_SETTINGS, REFUSED, Connection, Pool, nothing_to_reset, speak_json
from projections.installation import Installation
from projections.projection import Projection

LIMIT_SECONDS = 10.0


class DatabaseUnavailable(Exception):
    """The database of the read models cannot be reached."""


class DatabaseUnfit(Exception):
    """The database refuses us, or its address cannot be meant: waiting does not help."""


class ConnectionRefused(ConnectionError):
    """The database refuses us. To those who have worked on it this is an outage like others."""


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (
        *REFUSED,
        ValueError,  # the driver's word for an address that it cannot make sense of
    ) as error:
        raise ConnectionRefused(str(error)) from error


async def _connect(*given: Any, **named: Any) -> "asyncpg.Connection[asyncpg.Record]":
    with _refusals():
        return await asyncpg.connect(*given, **named)


@dataclass(frozen=True, slots=True)
class LazyPool:
    """Connections that are made when they are needed; the first has the tables made that are not there yet.

    So queries find their tables from the first moment, and need not wait for events.
    """

    pool: Pool
    installation: Installation

    async def close(self) -> None:
        """End every connection, and the making of tables."""
        try:
            await self.pool.close()
        finally:
            await self.installation.end()


async def lazy_pool(url: str, projections: Iterable[Projection[Any]], *, most_connections: int) -> LazyPool:
    """Open nothing yet: the server need not be there."""

    async def connect_to_install() -> Connection:
        wanted = POOL_SETTINGS["target_session_attrs"]
        return await _connect(url, timeout=LIMIT_SECONDS, target_session_attrs=wanted)

    installation = Installation(connect_to_install, projections)

    async def prepare(connection: Connection) -> None:
        try:
            await speak_json(connection)
            with _refusals():
                await installation.made()
        except asyncio.CancelledError:
            connection.terminate()  # the pool would close it politely, and wait for that
            raise

    pool = await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=most_connections,
        connect=_connect,
        init=prepare,
        reset=nothing_to_reset,
        **POOL_SETTINGS,
    )
    return LazyPool(pool, installation)


async def reach(database: LazyPool) -> None:
    """Return when the database has answered, and its tables are there. DatabaseUnavailable, DatabaseUnfit."""
    try:
        async with asyncio.timeout(LIMIT_SECONDS), database.pool.acquire() as connection:
            await connection.execute("SELECT 1")
    except ConnectionRefused as error:
        raise DatabaseUnfit(f"the database: {error}") from error
    except TimeoutError as error:
        if database.installation.is_under_way:
            raise DatabaseUnavailable("the database: making tables and indexes") from error
        raise DatabaseUnavailable(f"the database: no answer within {LIMIT_SECONDS:g} s") from error
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError) as error:
        raise DatabaseUnavailable(f"the database: {str(error) or type(error).__name__}") from error
