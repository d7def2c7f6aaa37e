"""Tables are made beside those who write to them already: what is there is left alone."""

import asyncpg

from projections.catalogue import PROJECTIONS
from projections.database import install
from support.tables import tables_at_zero


async def test_installing_again_waits_for_nobody_who_works_on_the_tables(database_url: str) -> None:
    async with (
        tables_at_zero(database_url) as pool,
        pool.acquire() as installing,
        pool.acquire() as writing,
        writing.transaction(),
    ):
        for table in (*(p.table for p in PROJECTIONS), "projection_checkpoints", "projection_heads"):
            await writing.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        await installing.execute("SET lock_timeout = '2s'")
        await install(installing, PROJECTIONS)


async def test_what_is_missing_is_made_beside_what_is_there(database_url: str) -> None:
    async with tables_at_zero(database_url) as pool, pool.acquire() as connection:
        before = await _relations(connection)
        await connection.execute("DROP INDEX runs_v2_newest, projection_heads_quarantined")
        await connection.execute("DROP TABLE tiers_v1")
        await connection.execute("ALTER TABLE projection_checkpoints DROP COLUMN generation")
        await install(connection, PROJECTIONS)
        assert await _relations(connection) == before


async def _relations(connection: asyncpg.pool.PoolConnectionProxy) -> set[str]:
    rows = await connection.fetch(
        "SELECT relname || '.' || attname AS name FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
        " WHERE relnamespace = current_schema()::regnamespace AND attnum > 0 AND NOT attisdropped"
    )
    return {row["name"] for row in rows}
