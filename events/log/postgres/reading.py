"""Reading records in pages, bounded in number and in bytes, along the primary key."""

from collections.abc import Sequence

from events.catalogue import Topic
from events.log.port import HistoryCutOff, Place, StoredRecord
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


# Asked before the records: what is written in between must not look as if it had been deleted.
HEADS = """
SELECT which, next_offset
FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS place (topic, partition, which)
    JOIN autopack_log.heads USING (topic, partition)
"""


async def read_range(pool: Pool, place: Place, start: int, end: int | None) -> list[StoredRecord]:
    """The next records in [start, end), some of them. Raises LogUnavailable, and HistoryCutOff."""
    last = NO_END if end is None else end
    records = await _range(pool, place, start, last)
    if place.topic is Topic.EVENTS and not (records and records[0].offset == start):
        records = await _whole(pool, place, start, last)
    return records


async def _whole(pool: Pool, place: Place, start: int, last: int) -> list[StoredRecord]:
    """The next records of the history, which is never deleted: its offsets have no gap."""
    (head,) = await pool.fetch(f"reading {place}", HEADS, [place.topic.value], [place.partition])
    records = await _range(pool, place, start, last)
    first = records[0].offset if records else min(head["next_offset"], last)
    if first > start:
        raise HistoryCutOff(place, start, first)
    return records


async def _range(pool: Pool, place: Place, start: int, last: int) -> list[StoredRecord]:
    rows = await pool.fetch(f"reading {place}", RANGE, place.topic.value, place.partition, start, last)
    return [stored(place.topic, place.partition, row) for row in rows]


def place_arrays(places: Sequence[Place]) -> tuple[list[str], list[int]]:
    """Places as the arguments of PAGES and HEADS."""
    return [place.topic.value for place in places], [place.partition for place in places]
