"""The reader of a log on Postgres: SQL of its own on the log's tables."""

import asyncio
import json

import asyncpg

from faults.invariants.evidence import COMMANDS, HISTORY, RESULTS, TOPICS, Log, Record
from faults.invariants.records import record

_RECORDS = """
SELECT topic, partition, "offset", key, value, headers::text AS headers, recorded_at
FROM autopack_log.records WHERE topic = ANY($1) ORDER BY topic, partition, "offset"
"""
_HEADS = "SELECT topic, partition, next_offset, commands, results FROM autopack_log.heads WHERE topic = ANY($1)"
_OPEN = """
SELECT format('a connection of %s, %s, since %s', application_name, state, xact_start) AS told
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND xact_start IS NOT NULL
UNION ALL
SELECT format('a prepared transaction %s since %s', gid, prepared)
FROM pg_prepared_xacts WHERE database = current_database()
"""
SETTLING_SECONDS = 5.0
LOOK_SECONDS = 0.05


async def unsettled(url: str) -> list[str]:
    """The transactions that stand open in the database, and go on doing so: nobody else may be at work there."""
    give_up_at = asyncio.get_running_loop().time() + SETTLING_SECONDS
    connection = await asyncpg.connect(url)
    try:
        while (found := await connection.fetch(_OPEN)) and asyncio.get_running_loop().time() < give_up_at:
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await connection.close()
    return [row["told"] for row in found]


async def read(url: str) -> Log:
    """All records, as of one moment."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows = await connection.fetch(_RECORDS, TOPICS)
            heads = await connection.fetch(_HEADS, TOPICS)
    finally:
        await connection.close()
    passed = {(COMMANDS, head["partition"]): head["commands"] for head in heads if head["topic"] == HISTORY}
    passed |= {(RESULTS, head["partition"]): head["results"] for head in heads if head["topic"] == HISTORY}
    ends = {(head["topic"], head["partition"]): head["next_offset"] for head in heads}
    return Log(tuple(map(_record, rows)), passed, ends)


def _record(row: asyncpg.Record) -> Record:
    headers = {name: value.encode("latin-1") for name, value in json.loads(row["headers"]).items()}
    place = (row["topic"], row["partition"], row["offset"])
    return record(*place, row["key"], row["value"], headers, row["recorded_at"])
