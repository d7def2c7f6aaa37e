"""What the routes work with."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from events.log.port import EventLog
from projections.database import Connection, Pool, lent
from projections.freshness import Freshness
from projections.queries.awaiting import Answers
from projections.queries.changes import Changes
from projections.queries.kept_totals import KeptTotals
from services.api.submitting import Submitting
from services.status import ServiceStatus

DATABASE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The log, and what submits commands to it, the read models to answer from, and the statuses of this process's
    services: the API's own, and all by name.
    """

    log: EventLog
    commands: Submitting
    pool: Pool
    changes: Changes
    answers: Answers
    freshness: Freshness
    totals: KeptTotals
    status: ServiceStatus
    statuses: Mapping[str, ServiceStatus]
    default_project: str
    default_repository: str | None

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Connection]:
        """A connection to the read models, for a moment: a database that hangs must hold nobody for ever.

        Raises TimeoutError, which says like other outages that the database cannot be reached.
        """
        async with lent(self.pool, DATABASE_SECONDS) as connection:
            yield connection


def _context(request: Request) -> ApiContext:
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(_context)]
