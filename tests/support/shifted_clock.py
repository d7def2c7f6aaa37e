"""A clock of a database that jumps when a test says so: the log on Postgres knows no other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg

# Unqualified names are looked up in the system's schema last, for whoever connects to this database from now on.
_SHIFTED = """
CREATE SCHEMA shifted;
CREATE TABLE shifted.clock (ahead interval NOT NULL);
INSERT INTO shifted.clock VALUES ('0');
CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
    AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM shifted.clock';
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = shifted, pg_catalog, public', current_database());
END $$;
"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection of the test's own, as long as the block lasts."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def shift_clock(url: str) -> None:
    """Give an empty database a clock that can jump; it goes right at first."""
    async with connected(url) as connection:
        await connection.execute(_SHIFTED)


async def jump(url: str, by: timedelta) -> None:
    """Have the clock go so much ahead of the true one, or behind it."""
    async with connected(url) as connection:
        await connection.execute("UPDATE shifted.clock SET ahead = $1", by)
