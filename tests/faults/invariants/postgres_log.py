"""The reader of a log on Postgres: SQL of its own on the log's tables."""

import json

import asyncpg

from faults.invariants.evidence import COMMANDS, HISTORY, RESULTS, TOPICS, Log, Record
from faults.invariants.records import record

_RECORDS = """
SELECT topic, partition, "offset", key, value, headers::text AS headers, recorded_at
FROM autopack_log.records WHERE topic = ANY($1) ORDER BY topic, partition, "offset"
"""
_HEADS = "SELECT topic, partition, next_offset, commands, results FROM autopack_log.heads WHERE topic = ANY($1)"


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
