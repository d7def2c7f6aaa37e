"""Reading records in pages, bounded in number and in bytes, along the primary key."""

from collections.abc import Sequence

import asyncpg

from events.log.port import Place, StoredRecord
from events.log.postgres.rows import stored
from events.log.postgres.server import Pool

PAGE_RECORDS = 500
PAGE_BYTES = 4 * 1024 * 1024
NO_END = 2**63 - 1

# A page ends behind the record with which it exceeds PAGE_BYTES, so that a larger one comes too.
# octet_length of a large value reads its length alone.
RANGE = f"""
SELECT "offset", key, value, headers, recorded_at
FROM (
    SELECT *, sum(octet_length(value)) OVER (ORDER BY "offset") - octet_length(value) AS bytes_before
    FROM (
        SELECT "offset", key, value, headers, recorded_at
        FROM autopack_log.records
        WHERE topic = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4
        ORDER BY "offset"
        LIMIT {PAGE_RECORDS}
    ) AS page
) AS measured
WHERE bytes_before < {PAGE_BYTES}
ORDER BY "offset"
"""

# The same for many places at once; they fill the page in turns, so that a busy one leaves room for others.
PAGES = f"""
SELECT which, "offset", key, value, headers, recorded_at
FROM (
    SELECT *, sum(octet_length(value)) OVER (ORDER BY turn, which) - octet_length(value) AS bytes_before
    FROM unnest($1::text[], $2::integer[], $3::bigint[]) WITH ORDINALITY
            AS place (topic, partition, start, which)
        CROSS JOIN LATERAL (
            SELECT "offset", key, value, headers, recorded_at, row_number() OVER (ORDER BY "offset") AS turn
            FROM autopack_log.records AS r
            WHERE r.topic = place.topic AND r.partition = place.partition AND r."offset" >= place.start
            ORDER BY "offset"
            LIMIT {PAGE_RECORDS}
        ) AS page
) AS measured
WHERE bytes_before < {PAGE_BYTES}
ORDER BY which, "offset"
"""


async def read_range(pool: Pool, place: Place, start: int, end: int | None) -> list[StoredRecord]:
    """The next records in [start, end), some of them. Raises LogUnavailable."""
    last = NO_END if end is None else end
    rows = await pool.fetch(f"reading {place}", RANGE, place.topic, place.partition, start, last)
    return [stored(place.topic, place.partition, row) for row in rows]


def by_place(places: Sequence[Place], rows: Sequence[asyncpg.Record]) -> dict[Place, list[StoredRecord]]:
    """The rows of PAGES, whose places were asked for in this order."""
    found: dict[Place, list[StoredRecord]] = {}
    for row in rows:
        place = places[row["which"] - 1]
        found.setdefault(place, []).append(stored(place.topic, place.partition, row))
    return found


def with_more(found: dict[Place, list[StoredRecord]], asked: Sequence[Place]) -> set[Place]:
    """The places that may hold more than this page of theirs."""
    if sum(len(record.value) for records in found.values() for record in records) >= PAGE_BYTES:
        return set(asked)
    return {place for place, records in found.items() if len(records) == PAGE_RECORDS}
