"""Making the tables of the log, once, by however many processes at a time."""

from pathlib import Path

import asyncpg

from events.catalogue import Topic
from events.log.port import LogUnavailable, LogUnfit
from events.log.postgres.failures import REFUSALS, within
from events.log.postgres.pushing import Channels
from events.log.postgres.server import Server

UNFIT = "The log in this database is not as it was asked for."
SCHEMA_VERSION = 1
ATTEMPTS = 10

_EXISTS = "SELECT to_regclass('autopack_log.settings') IS NOT NULL"
_SETTINGS = "SELECT schema_version, partition_count FROM autopack_log.settings"
_SET = "INSERT INTO autopack_log.settings (schema_version, partition_count) VALUES ($1, $2)"
_HEADS = """
INSERT INTO autopack_log.heads (topic, partition)
SELECT topic, partition FROM unnest($1::text[]) AS topic, generate_series(0, $2::integer - 1) AS partition
"""

_SECRET = "SELECT secret FROM autopack_log.settings"
# A log of an earlier version has none yet.
_ADD_SECRET = """
ALTER TABLE autopack_log.settings ADD COLUMN IF NOT EXISTS
    secret text NOT NULL DEFAULT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')
"""

_SOMEBODY_WAS_FASTER = (
    asyncpg.UniqueViolationError,
    asyncpg.DuplicateSchemaError,
    asyncpg.DuplicateTableError,
    asyncpg.DuplicateObjectError,
)


async def ensure_schema(server: Server, partition_count: int) -> Channels:
    """Make the tables where there are none, and compare where there are. The channels of this log.

    Raises LogUnavailable, and LogUnfit where the tables are others, or the server refuses us.
    """
    try:
        return await _ensure(server, partition_count)
    except ValueError as error:  # the driver's word for an address that it cannot make sense of
        raise LogUnfit(f"opening the log: {error}") from error
    except (LogUnavailable, *REFUSALS) as error:
        cause = error.__cause__ if isinstance(error, LogUnavailable) else error
        if isinstance(cause, REFUSALS):
            raise LogUnfit(f"opening the log: {cause}") from error
        raise


async def _ensure(server: Server, partition_count: int) -> Channels:
    async with within(server.limit_seconds, "opening the log"):
        connection = await server.connect(waits_for_disk=True)
    try:
        async with within(server.limit_seconds, "opening the log"):
            for _ in range(ATTEMPTS):
                if await _is_there(connection, partition_count) or await _was_made(connection, partition_count):
                    return await _channels(connection)
        raise LogUnavailable("opening the log: others are making its tables, over and over")
    finally:
        server.abandon(connection)


async def _is_there(connection: "asyncpg.Connection[asyncpg.Record]", partition_count: int) -> bool:
    if not await connection.fetchval(_EXISTS):
        return False
    found = await connection.fetchrow(_SETTINGS)
    if found is None:
        raise LogUnfit(f"{UNFIT} Its settings are missing.")
    if found["schema_version"] != SCHEMA_VERSION:
        versions = f"version {found['schema_version']}, not {SCHEMA_VERSION}"
        raise LogUnfit(f"{UNFIT} Its tables have {versions}.")
    if found["partition_count"] != partition_count:
        count = found["partition_count"]
        raise LogUnfit(f"{UNFIT} It was made with {count} partitions, for ever, not {partition_count}.")
    return True


async def _was_made(connection: "asyncpg.Connection[asyncpg.Record]", partition_count: int) -> bool:
    """All of it or nothing. False where somebody else made it in the meantime."""
    try:
        async with connection.transaction():
            await connection.execute(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))
            await connection.execute(_SET, SCHEMA_VERSION, partition_count)
            await connection.execute(_HEADS, [topic.value for topic in Topic], partition_count)
    except _SOMEBODY_WAS_FASTER:
        return False
    return True


async def _channels(connection: "asyncpg.Connection[asyncpg.Record]") -> Channels:
    try:
        return Channels(await connection.fetchval(_SECRET))
    except asyncpg.UndefinedColumnError:
        await connection.execute(_ADD_SECRET)
    return Channels(await connection.fetchval(_SECRET))
