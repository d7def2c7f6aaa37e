"""Opening the database of the read models for services, which may start before it does."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from projections.database import POOL_SETTINGS, Connection, Pool, install, nothing_to_reset, speak_json
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
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
        asyncpg.InsufficientPrivilegeError,
        ValueError,  # the driver's word for an address that it cannot make sense of
    ) as error:
        raise ConnectionRefused(str(error)) from error


async def lazy_pool(url: str, projections: Iterable[Projection[Any]], *, most_connections: int) -> Pool:
    """Connections that are made when they are needed; the first makes the tables that are not there yet.

    So queries find their tables from the first moment, and need not wait for events.
    """
    missing = list(projections)

    async def connect(*given: Any, **named: Any) -> "asyncpg.Connection[asyncpg.Record]":
        with _refusals():
            return await asyncpg.connect(*given, **named)

    async def prepare(connection: Connection) -> None:
        try:
            await speak_json(connection)
            if missing:
                with _refusals():
                    await install(connection, missing)
                missing.clear()
        except asyncio.CancelledError:
            connection.terminate()  # the pool would close it politely, and wait for that
            raise

    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=most_connections,
        connect=connect,
        init=prepare,
        reset=nothing_to_reset,
        **POOL_SETTINGS,
    )


async def reach(pool: Pool) -> None:
    """Return when the database has answered. Raises DatabaseUnavailable and DatabaseUnfit."""
    try:
        async with asyncio.timeout(LIMIT_SECONDS), pool.acquire() as connection:
            await connection.execute("SELECT 1")
    except ConnectionRefused as error:
        raise DatabaseUnfit(f"the database: {error}") from error
    except TimeoutError as error:
        raise DatabaseUnavailable(f"the database: no answer within {LIMIT_SECONDS:g} s") from error
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError) as error:
        raise DatabaseUnavailable(f"the database: {str(error) or type(error).__name__}") from error
