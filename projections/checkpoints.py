"""How far each projection has read, and the chain heads of runs as of there.

A checkpoint moves from the offset that its reader believes in to the next, or not at all: a reader that was
replaced while it stood still moves nothing and, being in one transaction with its rows, writes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from events.history import Head
from events.log.port import Place
from projections.database import Connection


class Overtaken(Exception):
    """Somebody else has moved these checkpoints; nothing was written."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a projection stands in a place of the log. `error` says why it stopped before `stopped_at`.

    `generation` counts how often its rows were put in the place of others: what was known of them is void then.
    """

    projection: str
    version: int
    place: Place
    next_offset: int
    stopped_at: int | None = None
    error: str | None = None
    generation: int = 0


@dataclass(frozen=True, slots=True)
class KnownHead:
    """The last record of a run that was folded; in quarantine, nothing more of that run is."""

    head: Head
    quarantine: str | None = None


RunKey = tuple[str, str]
"""(project, run id)."""


class Reader(Protocol):
    """What has a checkpoint."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def version(self) -> int:
        """The version of what it makes."""


_BEGIN = """
INSERT INTO projection_checkpoints (projection, version, topic, partition, next_offset)
SELECT name, version, $3, $4, 0 FROM unnest($1::text[], $2::int[]) AS reader (name, version)
ON CONFLICT DO NOTHING
"""

_BEGIN_AGAIN = """
INSERT INTO projection_checkpoints (projection, version, topic, partition, next_offset) VALUES ($1, $2, $3, $4, 0)
ON CONFLICT (projection, version, topic, partition) DO UPDATE SET next_offset = 0, stopped_at = NULL, error = NULL
"""

_READ = """
SELECT projection, version, next_offset, stopped_at, error, generation FROM projection_checkpoints
WHERE topic = $3 AND partition = $4
  AND (projection, version) IN (SELECT * FROM unnest($1::text[], $2::int[]))
"""

# The projections can be made again from the log, so the commit need not wait for the disk: after a crash rows
# and checkpoint go back together.
_MOVE = """
WITH moved AS (
    UPDATE projection_checkpoints SET next_offset = $6, stopped_at = NULL, error = NULL
    WHERE projection = $1 AND version = $2 AND topic = $3 AND partition = $4 AND next_offset = $5
    RETURNING 1)
SELECT count(*), set_config('synchronous_commit', 'off', true) FROM moved
"""

_STOP = """
UPDATE projection_checkpoints SET stopped_at = $5, error = $6
WHERE projection = $1 AND version = $2 AND topic = $3 AND partition = $4 AND next_offset = $5
"""

_HEADS = """
SELECT project, run_id, sequence, digest, quarantine FROM projection_heads
WHERE projection = $1 AND version = $2
  AND (project, run_id) IN (SELECT * FROM unnest($3::text[], $4::text[]))
"""

# Locked first, in one order, and only then moved: all of them, or none. A generation that is null fits any.
MOVE = """standing AS MATERIALIZED (
    SELECT 1 FROM projection_checkpoints AS checkpoint
        JOIN unnest($1::text[], $2::int[], $3::bigint[]) AS reader (projection, version, generation)
            USING (projection, version)
    WHERE topic = $4::text AND partition = $5::int AND next_offset = $6::bigint
        AND checkpoint.generation = coalesce(reader.generation, checkpoint.generation)
    ORDER BY projection FOR UPDATE OF checkpoint
), moved AS (
    UPDATE projection_checkpoints SET next_offset = $7::bigint, stopped_at = NULL, error = NULL
    WHERE topic = $4 AND partition = $5 AND {condition}
        AND (projection, version) IN (SELECT * FROM unnest($1, $2))
)"""

# They are the same for all projections that stand at one offset.
KEEP_HEADS = """heads AS (
    INSERT INTO projection_heads (projection, version, project, run_id, sequence, digest, quarantine)
    SELECT reader.*, head.*
    FROM unnest($1, $2) AS reader,
        unnest($9::text[], $10::text[], $11::int[], $12::text[], $13::text[]) AS head
    WHERE {condition}
    ON CONFLICT (projection, version, project, run_id) DO UPDATE
    SET sequence = EXCLUDED.sequence, digest = EXCLUDED.digest, quarantine = EXCLUDED.quarantine
)"""

_QUARANTINED = """
SELECT DISTINCT project, run_id, quarantine FROM projection_heads WHERE quarantine IS NOT NULL
ORDER BY project, run_id
"""


def _names(readers: Iterable[Reader]) -> tuple[list[str], list[int]]:
    known = list(readers)
    return [reader.name for reader in known], [reader.version for reader in known]


async def begin(connection: Connection, readers: Sequence[Reader], place: Place) -> list[Checkpoint]:
    """Where the readers stand in a place; one that was never there stands at 0."""
    names = _names(readers)
    await connection.execute(_BEGIN, *names, place.topic, place.partition)
    rows = await connection.fetch(_READ, *names, place.topic, place.partition)
    return [
        Checkpoint(
            projection=r["projection"],
            version=r["version"],
            place=place,
            next_offset=r["next_offset"],
            stopped_at=r["stopped_at"],
            error=r["error"],
            generation=r["generation"],
        )
        for r in rows
    ]


async def begin_again(connection: Connection, reader: Reader, place: Place) -> None:
    """Put a reader back to 0, wherever it stood."""
    await connection.execute(_BEGIN_AGAIN, reader.name, reader.version, place.topic, place.partition)


async def move(connection: Connection, reader: Reader, place: Place, start: int, end: int) -> None:
    """Move a reader's checkpoint, in the caller's transaction or in one of its own. Raises Overtaken."""
    row = await connection.fetchrow(_MOVE, reader.name, reader.version, place.topic, place.partition, start, end)
    if row is None or row["count"] != 1:
        raise Overtaken(f"{reader.name} stands no longer at {start} of {place}")


async def stop(connection: Connection, reader: Reader, place: Place, offset: int, error: str) -> None:
    """Say why a reader does not go on from where it stands. Nothing, where it stands no longer there."""
    await connection.execute(_STOP, reader.name, reader.version, place.topic, place.partition, offset, error)


def beyond(end: int) -> str:
    """Why a reader stops whose checkpoint lies beyond the end of its place."""
    return f"the checkpoint is beyond the end of the log, {end}: is this another log?"


async def known_heads(connection: Connection, reader: Reader, keys: Iterable[RunKey]) -> dict[RunKey, KnownHead]:
    """The heads of runs as of the reader's checkpoint."""
    wanted = set(keys)
    projects, run_ids = [key[0] for key in wanted], [key[1] for key in wanted]
    rows = await connection.fetch(_HEADS, reader.name, reader.version, projects, run_ids)
    return {
        (r["project"], r["run_id"]): KnownHead(Head(r["sequence"], r["digest"]), r["quarantine"]) for r in rows
    }


def head_columns(heads: Mapping[RunKey, KnownHead]) -> tuple[Sequence[object], ...]:
    """Heads as the five arrays that KEEP_HEADS takes."""
    known = heads.values()
    return (
        [project for project, _ in heads],
        [run_id for _, run_id in heads],
        [one.head.sequence for one in known],
        [one.head.digest for one in known],
        [one.quarantine for one in known],
    )


async def quarantined(connection: Connection) -> dict[RunKey, str]:
    """Runs whose history forked, with the record that did not fit."""
    return {(r["project"], r["run_id"]): r["quarantine"] for r in await connection.fetch(_QUARANTINED)}
