"""Opening what the services need, and putting together those that a process runs."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from events.failpoints import arm
from events.log.port import LogUnavailable
from services.artifacts import open_artifacts
from services.awaiting import Awaited
from services.compose.application import Application, Commands, Service
from services.log_at_hand import LogAtHand
from services.logs import open_log
from services.servers import open_servers
from services.settings import Settings

WORKING = frozenset({Service.BUILDER, Service.AUDITOR, Service.APPLIER, Service.VERIFIER})
READING = frozenset({Service.PROJECTOR, Service.API})


@asynccontextmanager
async def compose(
    settings: Settings, services: frozenset[Service], commands: Commands | None = None, *, patient: bool = False
) -> AsyncIterator[Application]:
    """Open what the services need, and put them together; everything is let go of at the end.

    With `patient` the log and the database need not be there yet: the services wait for them. Otherwise they
    are opened at once, which raises LogUnavailable, DatabaseUnavailable, LogUnfit and DatabaseUnfit.
    Raises SandboxUnavailable, AgentsFileInvalid, ServerDidNotStart.
    """
    if settings.failpoints_folder is not None:
        arm(settings.failpoints, settings.failpoints_folder)
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(open_servers(settings))
        log = LogAtHand(settings.partitions, lambda: open_log(settings, servers))
        stack.push_async_callback(log.close)
        application = Application(settings, log, servers, open_artifacts(settings.artifacts_url))
        the_log = await _awaited(application, Awaited("the log", log.open, (LogUnavailable,)), patient)
        if Service.SUPERVISOR in services:
            from services.compose.supervising import add_supervisor

            add_supervisor(application, the_log)
        if services & WORKING:
            from services.compose.working import add_workers

            await add_workers(application, the_log, services, commands or Commands())
        if services & READING:
            from services.compose.reading import add_projector, open_tables

            tables, database = await open_tables(application, stack)
            await _awaited(application, database, patient)
            if Service.PROJECTOR in services:
                add_projector(application, tables, the_log, database)
            if Service.API in services:
                from services.compose.serving import add_api

                add_api(application, tables, the_log, database)
        yield application


async def _awaited(application: Application, server: Awaited, patient: bool) -> Awaited:
    if patient:
        application.awaited.append(server)
    else:
        await server.open()
    return server
