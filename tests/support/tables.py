"""The tables of the projections, empty at first, and everything that is in them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from events.catalogue import Topic
from events.log.port import Place
from projections.catalogue import PROJECTIONS
from projections.checkpoints import begin
from projections.database import Pool, install, open_pool

HISTORY_READERS = [p for p in PROJECTIONS if Topic.EVENTS in p.topics]
REFUSAL_READERS = [p for p in PROJECTIONS if Topic.REJECTIONS in p.topics]
EVENTS = Place(Topic.EVENTS, 0)
REJECTIONS = Place(Topic.REJECTIONS, 0)


@asynccontextmanager
async def tables_at_zero(url: str) -> AsyncIterator[Pool]:
    """A pool on a database with empty tables."""
    pool = await open_pool(url)
    try:
        await start_at_zero(pool)
        yield pool
    finally:
        await pool.close()


async def start_at_zero(pool: Pool) -> None:
    """Empty tables, and every projection at 0."""
    async with pool.acquire() as connection:
        for table in [*(p.table for p in PROJECTIONS), "projection_checkpoints", "projection_heads"]:
            await connection.execute(f"DROP TABLE IF EXISTS {table}")
        await install(connection, PROJECTIONS)
        await begin(connection, HISTORY_READERS, EVENTS)
        await begin(connection, REFUSAL_READERS, REJECTIONS)


async def all_rows(pool: Pool) -> dict[str, list[Any]]:
    """Every row of every table, as text, in one order."""
    async with pool.acquire() as connection:
        return {
            p.table: [r[0] for r in await connection.fetch(f"SELECT t::text FROM {p.table} t ORDER BY 1")]
            for p in PROJECTIONS
        }
