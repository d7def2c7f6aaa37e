"""What the routes work with."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from events.log.port import EventLog
from projections.database import Connection, Pool, lent
from projections.queries.answers import Changes
from services.status import ServiceStatus

DATABASE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The log to submit to, the read models to answer from, and the statuses of this process's services."""

    log: EventLog
    pool: Pool
    changes: Changes
    statuses: Mapping[str, ServiceStatus]
    default_project: str
    default_repository: str | None

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Connection]:
        """A connection to the read models, for a moment: a database that hangs must hold nobody for ever.

        Raises TimeoutError, which says like other outages that the database cannot be reached.
        """
        try:
            async with asyncio.timeout(DATABASE_SECONDS), lent(self.pool) as connection:
                yield connection
        except TimeoutError as error:
            raise TimeoutError(f"no answer within {DATABASE_SECONDS:g} s") from error


def _context(request: Request) -> ApiContext:
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(_context)]
