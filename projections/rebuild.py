"""Making a projection again from offset 0, beside the one that is served, and letting old versions go."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from events.catalogue import Topic
from events.log.port import EventLog, Place
from projections.answers import ANSWERS
from projections.catalogue import READERS
from projections.checkpoints import begin
from projections.database import UNAVAILABLE, WRITING_SECONDS, Pool, install, lent
from projections.filling import Fresh, Helper, fill, fill_places
from projections.projection import Projection
from projections.rejections import REJECTIONS

logger = structlog.get_logger(__name__)


LOOKS, LOOK_SECONDS = 30, 0.1
"""How often, and every so many seconds, one looks whether somebody else is done."""


class AlreadyRebuilding(Exception):
    """Somebody else makes this projection again just now."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The outcome: rows in the fresh table, and how many rows differed from the table that was served.

    `comparable` is False where the served one stood elsewhere, because it had stopped or never begun. Of the
    run files, which nothing is compared with, the rows are runs.
    """

    projection: str
    version: int
    rows: int
    only_served: int
    only_fresh: int
    comparable: bool
    replaced: bool

    @property
    def differs(self) -> bool:
        """The served table was not what the log says."""
        return self.comparable and bool(self.only_served or self.only_fresh)


async def rebuild(
    pool: Pool,
    log: EventLog,
    projection: Projection[Any],
    *,
    replace: bool = True,
    helpers: Sequence[Helper] = (),
) -> Rebuilt:
    """Fill a fresh table from offset 0, compare it with the served one at the very same offsets, and put its
    rows in the place of the other's.

    The served table is kept up to date meanwhile, and stands still only for the last stretch; its readers see
    the old rows until the new ones are there. Where there is much to read, each of the helpers is given a share.
    Raises ProjectionStopped where the fold cannot pass a record, RowsRefused, HistoryCutOff, LogUnavailable, and
    AlreadyRebuilding.
    """
    async with pool.acquire() as connection:
        served = await connection.fetchval("SELECT current_schema()")
        fresh = Fresh(connection, log, projection)
        async with _alone(fresh):
            await install(connection, [projection])
            try:
                await _prepare(fresh)
                await fill(fresh, pool, await _first_targets(fresh, served), helpers)
                async with connection.transaction():
                    return await _settle(fresh, served, replace)
            finally:
                await _leave(fresh)


@asynccontextmanager
async def _alone(fresh: Fresh) -> AsyncIterator[None]:
    """Hold the fresh schema, which two would fill in turns and drop for one another. Raises AlreadyRebuilding.

    The server lets go of what a killed command has held within moments.
    """
    name = f"{await fresh.connection.fetchval('SELECT current_schema()')}.{fresh.schema}"
    for _ in range(LOOKS):
        if await fresh.connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", name):
            break
        await asyncio.sleep(LOOK_SECONDS)
    else:
        raise AlreadyRebuilding(f"{fresh.projection.name} is being made again by somebody else")
    try:
        yield
    finally:
        try:
            await fresh.connection.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", name)
        except UNAVAILABLE:
            with suppress(asyncpg.InterfaceError):
                fresh.connection.terminate()  # and with it the lock goes


async def _leave(fresh: Fresh) -> None:
    """A fault here must not hide the one that led here; what is left is dropped by the next rebuild."""
    try:
        await fresh.connection.execute("RESET search_path")
        await fresh.connection.execute(f'DROP SCHEMA IF EXISTS "{fresh.schema}" CASCADE')
    except UNAVAILABLE as error:
        logger.warning("rebuilt table not dropped", schema=fresh.schema, error=str(error))


async def _prepare(fresh: Fresh) -> None:
    """The served projection's checkpoints, and an empty schema that takes the place of the served one."""
    for place in await _ends(fresh.log, fresh.projection):
        await begin(fresh.connection, [fresh.projection], place)
    await fresh.connection.execute(f'DROP SCHEMA IF EXISTS "{fresh.schema}" CASCADE')
    await fresh.connection.execute(f'CREATE SCHEMA "{fresh.schema}"')
    await fresh.connection.execute(fresh.path)
    await install(fresh.connection, [fresh.projection])


async def _ends(log: EventLog, projection: Projection[Any]) -> dict[Place, int]:
    return {
        Place(topic, partition): end
        for topic in sorted(projection.topics)
        for partition, end in (await log.ends(topic)).items()
    }


_SERVED = """
SELECT topic, partition, next_offset, stopped_at FROM "{served}".projection_checkpoints
WHERE projection = $1 AND version = $2
"""


async def _first_targets(fresh: Fresh, served: str) -> dict[Place, int]:
    """Where the served projection stands, or the end of the log where it does not move.

    Never beyond that end: a table that was made from another log may stand there.
    """
    reader = (fresh.projection.name, fresh.projection.version)
    standing = await fresh.connection.fetch(_SERVED.format(served=served), *reader)
    ends = await _ends(fresh.log, fresh.projection)
    targets = {}
    for row in standing:
        place = Place(Topic(row["topic"]), row["partition"])
        end = ends.get(place, 0)
        still = row["stopped_at"] is not None or row["next_offset"] == 0
        targets[place] = end if still else min(row["next_offset"], end)
    return targets


async def _settle(fresh: Fresh, served: str, replace: bool) -> Rebuilt:
    """With the served checkpoints locked: come to the same offsets, compare, and take the other's place."""
    name, version = fresh.projection.name, fresh.projection.version
    standing = await fresh.connection.fetch(f"{_SERVED.format(served=served)} FOR UPDATE", name, version)
    targets = {Place(Topic(r["topic"]), r["partition"]): r["next_offset"] for r in standing}
    ends = await _ends(fresh.log, fresh.projection)
    within = {place: min(target, ends.get(place, 0)) for place, target in targets.items()}
    await fill_places(fresh, fresh.connection, iter(within.items()))
    table = fresh.projection.table
    ours, theirs = f'"{fresh.schema}".{table}', f'"{served}".{table}'
    rebuilt = Rebuilt(
        projection=name,
        version=version,
        rows=await fresh.connection.fetchval(f"SELECT count(*) FROM {ours}"),
        only_served=await fresh.connection.fetchval(_difference(theirs, ours)),
        only_fresh=await fresh.connection.fetchval(_difference(ours, theirs)),
        comparable=targets == fresh.offsets,
        replaced=replace,
    )
    if replace:
        await _replace(fresh, served, ours, theirs)
    return rebuilt


def _difference(one: str, other: str) -> str:
    return f"SELECT count(*) FROM (SELECT * FROM {one} EXCEPT ALL SELECT * FROM {other}) AS difference"


_TAKE_CHECKPOINTS = """
UPDATE "{served}".projection_checkpoints AS served
SET next_offset = fresh.next_offset, stopped_at = NULL, error = NULL, generation = served.generation + 1
FROM "{schema}".projection_checkpoints AS fresh
WHERE (served.projection, served.version, served.topic, served.partition)
    = (fresh.projection, fresh.version, fresh.topic, fresh.partition)
"""

# All of them: a head that the log does not have would have later records of its run passed over as repeats.
_LEAVE_HEADS = 'DELETE FROM "{served}".projection_heads WHERE projection = $1 AND version = $2'

_TAKE_HEADS = 'INSERT INTO "{served}".projection_heads SELECT * FROM "{schema}".projection_heads'


async def _replace(fresh: Fresh, served: str, ours: str, theirs: str) -> None:
    """Rows are exchanged, not tables: what others have prepared on the table stays valid."""
    names = {"served": served, "schema": fresh.schema}
    await fresh.connection.execute(f"DELETE FROM {theirs}")
    await fresh.connection.execute(f"INSERT INTO {theirs} SELECT * FROM {ours}")
    await fresh.connection.execute(_TAKE_CHECKPOINTS.format(**names))
    reader = (fresh.projection.name, fresh.projection.version)
    await fresh.connection.execute(_LEAVE_HEADS.format(**names), *reader)
    await fresh.connection.execute(_TAKE_HEADS.format(**names))


_OUTDATED = "SELECT DISTINCT projection, version FROM projection_checkpoints ORDER BY projection, version"

_PLAIN_NAME = re.compile(r"[a-z_]{1,40}")


async def prune(pool: Pool) -> list[str]:
    """Drop the tables of versions that this code does not know any more; their names."""
    dropped = []
    async with pool.acquire() as connection, connection.transaction():
        for row in await connection.fetch(_OUTDATED):
            name, version = row["projection"], row["version"]
            reader = READERS.get(name)
            if _PLAIN_NAME.fullmatch(name) and (reader is None or version < reader.version):
                await connection.execute(f"DROP TABLE IF EXISTS {name}_v{version}")
                for table in ("projection_checkpoints", "projection_heads"):
                    await connection.execute(
                        f"DELETE FROM {table} WHERE projection = $1 AND version = $2", name, version
                    )
                dropped.append(f"{name}_v{version}")
    return dropped


_EXPIRE = (
    f"DELETE FROM {REJECTIONS.table} WHERE partition = $1 AND log_offset < $2",
    f"DELETE FROM {ANSWERS.table} WHERE rejected AND partition = $1 AND log_offset < $2",
)


async def expire_rejections(pool: Pool, log: EventLog) -> None:
    """Forget refusals whose records the log has let go, so that a rebuild still gives equal tables."""
    for partition, end in (await log.ends(Topic.REJECTIONS)).items():
        records = await log.read(Place(Topic.REJECTIONS, partition), 0, end)
        first = records[0].offset if records else end
        async with lent(pool, WRITING_SECONDS) as connection, connection.transaction():
            for statement in _EXPIRE:
                await connection.execute(statement, partition, first)
