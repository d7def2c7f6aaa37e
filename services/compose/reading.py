"""The tables, and the projector that keeps them."""

import asyncio
from contextlib import AsyncExitStack, suppress

from projections.catalogue import PROJECTIONS
from projections.opening import DatabaseUnavailable, LazyPool, lazy_pool, reach
from projections.projector import Projector
from services.awaiting import Awaited
from services.collection.collector import Tables
from services.compose.application import Application, Service
from services.run_files import run_files
from services.watchdog import watched

CONNECTIONS = 16
CLOSING_SECONDS = 5.0


async def open_tables(application: Application, stack: AsyncExitStack) -> tuple[Tables, Awaited]:
    """Give the application its tables until the stack is left, with the database that is to be reached first."""
    database = await lazy_pool(application.servers.database_url, PROJECTIONS, most_connections=CONNECTIONS)
    stack.push_async_callback(_closed, database)
    tables = application.tables = Tables(application.log, database.pool)
    return tables, Awaited("the database", lambda: reach(database), (DatabaseUnavailable,))


async def _closed(database: LazyPool) -> None:
    """Every connection ends, by force where the database does not answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSING_SECONDS):
            await database.close()


def add_projector(application: Application, tables: Tables, *needed: Awaited) -> None:
    """Add the projector, which begins when what it needs is open."""
    files = run_files(application.settings, tables.pool, application.log, application.store)
    application.add(
        Service.PROJECTOR,
        lambda status: watched(application.log, status, Projector(tables.pool, application.log, status, files)),
        *needed,
    )
