"""The log on Postgres, as the contract suite opens it. A provider of another log has these same names."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
import orjson

from events.log.port import EventLog, Place
from events.log.postgres import PostgresLog
from servers.postgres import PostgresServer

SERVER = "postgres_server"
"""The fixture of the server, one a session, that `fresh_log` is given."""

PARTITIONS = 4
SILENCE_SECONDS = 1.5
"""For how long an instance that gives no sign of life still counts as living, more or less."""

_FOREIGN = """
WITH moved AS (
    UPDATE autopack_log.heads SET next_offset = next_offset + 1, recorded_at = clock_timestamp()
    WHERE topic = $1 AND partition = $2
    RETURNING next_offset - 1 AS "offset", recorded_at
)
INSERT INTO autopack_log.records (topic, partition, "offset", key, value, headers, recorded_at)
SELECT $1::text, $2::integer, "offset", $3, $4, $5, recorded_at FROM moved
"""


_DELETE = 'DELETE FROM autopack_log.records WHERE topic = $1 AND partition = $2 AND "offset" < $3'


@asynccontextmanager
async def fresh_log(server: PostgresServer) -> AsyncIterator[str]:
    """The address of an empty log that is nobody else's."""
    async with server.fresh_database() as url:
        yield url


async def open_log(address: str) -> EventLog:
    """One more opening of the log at the address, from this process or another."""
    return await PostgresLog.open(address, PARTITIONS, lease_seconds=SILENCE_SECONDS)


async def write_foreign(
    address: str, place: Place, key: bytes | None, value: bytes, headers: Mapping[str, bytes]
) -> None:
    """Write a record as a program that is not ours would: to a place and under a key of its own choice."""
    connection = await asyncpg.connect(address)
    try:
        text = orjson.dumps({name: value.decode("latin-1") for name, value in headers.items()}).decode()
        await connection.execute(_FOREIGN, place.topic.value, place.partition, key, value, text)
    finally:
        await connection.close()


async def delete_before(address: str, place: Place, offset: int) -> None:
    """Delete the records of a place before an offset, as an administrator would."""
    connection = await asyncpg.connect(address)
    try:
        await connection.execute(_DELETE, place.topic.value, place.partition, offset)
    finally:
        await connection.close()
