"""The database of the read models: its connections, and the tables in it."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any, TypeAlias

import asyncpg
import orjson
from asyncpg.connect_utils import SessionAttribute

from projections.projection import Projection

# As text: the classes take parameters in their stubs alone.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
"""The server is there, and does not take us as who we are or let us do what we have to: waiting does not help."""

UNAVAILABLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver's word for a connection that was cut while it was being reset
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""The server is away, full, going or a standby, or the connection is gone: wait, connect anew, and look where
things stand.
"""

WRITING_SECONDS = 15.0
"""Whoever keeps tables or files up to date waits no longer for the database: then it is away, and that is said.
A batch takes a second at most.
"""
INSTALLING_SECONDS = 600.0
"""Making tables and indexes may take a while where there are many rows."""

CLOSING_SECONDS = 2.0

CHANNEL = "autopack_projections"
"""Notified by the very transaction that makes rows visible."""

_MADE = "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
_INDEX = re.compile(r"^CREATE INDEX IF NOT EXISTS (\w+)[^;]*;", re.MULTILINE)
# Concurrent `CREATE TABLE IF NOT EXISTS` can still collide in the system's own tables.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(7226512071)"


POOL_SETTINGS: Mapping[str, Any] = {
    "target_session_attrs": SessionAttribute.read_write,
    "max_queries": sys.maxsize,
    "max_cached_statement_lifetime": 0,
    "max_cacheable_statement_size": 0,
    "server_settings": {"plan_cache_mode": "force_generic_plan"},
}
"""All statements go along keys and indexes, whatever the values. To plan the large one that writes a batch takes
longer than to run it, and the server would do so for each of its first runs on every connection.

Left to itself the driver ends a connection after 50,000 statements, forgets after five minutes those that it has
prepared, and prepares none of more than 15 KiB.
"""


async def open_pool(url: str, *, most_connections: int = 8) -> Pool:
    """Connections that speak JSON as these modules expect."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=most_connections,
        init=speak_json,
        reset=nothing_to_reset,
        **POOL_SETTINGS,
    )


async def nothing_to_reset(connection: object) -> None:
    """Who changes a setting of a connection takes it back. The driver's own reset costs a round trip each time."""


@asynccontextmanager
async def lent(pool: Pool, limit_seconds: float | None = None) -> AsyncIterator[Connection]:
    """A connection for as long as the block lasts, and for `limit_seconds` at most; then it is cut.

    Whoever is given up in the midst of its work, or overdue, has its connection cut. The driver's own ways ask the
    server to stop and wait for that: a transaction would wait for its ROLLBACK, and where the server stands still,
    or passes over what it was asked, a time limit around the block would end nothing.

    Where the server takes no writes any more, others have taken over: then every connection to it is let go.
    Raises TimeoutError.
    """
    loop = asyncio.get_running_loop()
    until = None if limit_seconds is None else loop.time() + limit_seconds
    try:
        async with asyncio.timeout_at(until):
            connection = await pool.acquire()
        cutting = None if until is None else loop.call_at(until, connection.terminate)
        try:
            yield connection
        except asyncio.CancelledError:
            with suppress(asyncpg.InterfaceError):  # it was cut in this very moment, and is the pool's again
                connection.terminate()
            raise
        except asyncpg.ReadOnlySQLTransactionError:
            with suppress(asyncpg.InterfaceError):
                connection.terminate()
            await pool.expire_connections()
            raise
        finally:
            if cutting is not None:
                cutting.cancel()
            # After others were let go this one is closed politely, and its server may not be there any more.
            with suppress(TimeoutError):
                await pool.release(connection, timeout=CLOSING_SECONDS)
    except Exception as error:  # what is cut in its midst fails in any way, the driver's own code too
        if until is not None and loop.time() >= until:
            raise TimeoutError(f"no answer within {limit_seconds:g} s") from error
        raise


async def must_take_writes(connection: Connection) -> None:
    """Raises ReadOnlySQLTransactionError where the server does not, as one from which another has taken over."""
    if await connection.fetchval("SELECT current_setting('transaction_read_only')::bool"):
        raise asyncpg.ReadOnlySQLTransactionError("the server takes no writes")


async def speak_json(connection: Connection) -> None:
    """Columns of JSON come and go as plain values."""
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=_encoded, decoder=orjson.loads, format="text"
        )


def _encoded(value: Any) -> str:
    return orjson.dumps(value).decode()


async def install(connection: Connection, projections: Iterable[Projection[Any]]) -> None:
    """Make the tables and indexes that are not there yet, those of the checkpoints among them.

    What is there is not touched: even to be told so, CREATE INDEX takes a lock that waits for every writer of the
    table, and between a writer of several tables and us that can be a deadlock.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        await _install(connection, projections)
        await transaction.commit()
    except asyncio.CancelledError:
        with suppress(asyncpg.InterfaceError):
            connection.terminate()  # a ROLLBACK would wait for a server that may be silent
        raise
    except Exception:
        await transaction.rollback()
        raise


async def _install(connection: Connection, projections: Iterable[Projection[Any]]) -> None:
    await connection.execute(_ONE_AT_A_TIME)
    made = {row["relname"] for row in await connection.fetch(_MADE)}
    for name in ("checkpoints", *(p.name for p in projections)):
        await connection.execute(_INDEX.sub(lambda index: "" if index[1] in made else index[0], definition(name)))


def definition(name: str) -> str:
    """The SQL beside a module."""
    return files("projections").joinpath(f"{name}.sql").read_text()
