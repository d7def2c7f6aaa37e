"""What can go wrong with the log on Postgres, and how the driver's errors become the port's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from events.log.port import LogUnavailable


class NotSubmitted(Exception):
    """Nobody submits to this topic: the supervisor's steps alone write to it."""


OUTAGES = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver's word for a connection that was cut while it was being reset
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
"""What the driver raises where the server is away, full, shutting down, a standby, or refuses us."""


REFUSALS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
"""What of it no waiting mends where the log has never been open: wrong user or password, no such database."""


@asynccontextmanager
async def within(limit_seconds: float, doing: str) -> AsyncIterator[None]:
    """Bound what is done inside, and raise LogUnavailable with the cause where the server fails it."""
    try:
        async with asyncio.timeout(limit_seconds):
            yield
    except TimeoutError as error:
        raise LogUnavailable(f"{doing}: no answer within {limit_seconds:g} s") from error
    except OUTAGES as error:
        if isinstance(error, ValueError):  # the driver's word for an argument that it cannot encode
            raise
        raise LogUnavailable(f"{doing}: {error!r}") from error
