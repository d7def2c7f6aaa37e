"""What the routes work with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from events.log.port import EventLog
from projections.database import Pool
from projections.queries.answers import Changes
from services.status import ServiceStatus


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The log to submit to, the read models to answer from, and the statuses of this process's services."""

    log: EventLog
    pool: Pool
    changes: Changes
    statuses: Mapping[str, ServiceStatus]
    default_project: str
    default_repository: str | None


def _context(request: Request) -> ApiContext:
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(_context)]
