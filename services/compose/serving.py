"""The API, put together."""

from projections.freshness import Freshness
from projections.queries.awaiting import Answers
from projections.queries.changes import Changes
from projections.queries.kept_totals import KeptTotals
from services.api.app import ApiServer
from services.api.context import ApiContext
from services.api.submitting import Submitting
from services.awaiting import Awaited
from services.collection.collector import Tables
from services.compose.application import Application, Service
from services.status import ServiceStatus


def add_api(application: Application, tables: Tables, *needed: Awaited) -> None:
    """Add the API. It begins at once, and says of what it needs what is waited for."""
    application.add(Service.API, lambda status: _api(application, tables, status).run, *needed)


def _api(application: Application, tables: Tables, status: ServiceStatus) -> ApiServer:
    settings = application.settings
    changes = Changes(tables.pool)
    context = ApiContext(
        log=application.log,
        commands=Submitting(application.log),
        pool=tables.pool,
        changes=changes,
        answers=Answers(tables.pool, changes),
        freshness=Freshness(),
        totals=KeptTotals(),
        status=status,
        statuses=application.statuses,
        default_project=settings.project,
        default_repository=settings.repository,
    )
    return ApiServer(context, settings.listen_address)
