"""The log and the read models themselves, for operations that are no service's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from events.log.port import EventLog, LogUnavailable, LogUnfit
from projections.catalogue import PROJECTIONS
from projections.database import REFUSED, UNAVAILABLE, Pool, install, open_pool
from projections.filling import FILLERS
from services.cli.failures import ServiceUnreachable, Unsuccessful, WrongUsage
from services.embedded.postgres import ServerDidNotStart
from services.logs import open_log
from services.servers import Servers, open_servers
from services.settings import Settings


@dataclass(frozen=True, slots=True)
class Store:
    """An open log and database, and where they are."""

    servers: Servers
    log: EventLog
    pool: Pool


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    """The configured servers, or the embedded one. Raises ServiceUnreachable; Unsuccessful where refused.

    With AUTOPACK_URL alone there is nothing to open here: that raises WrongUsage.
    """
    if settings.url is not None and settings.log is None:
        raise WrongUsage(
            "this works on the log itself: AUTOPACK_URL is not enough, "
            "give AUTOPACK_LOG and AUTOPACK_DATABASE as the service has them"
        )
    try:
        async with open_servers(settings) as servers:
            log = await open_log(settings, servers)
            pool = None
            try:
                pool = await open_pool(servers.database_url, most_connections=FILLERS)
                async with pool.acquire() as connection:
                    await install(connection, PROJECTIONS)
                yield Store(servers, log, pool)
            finally:
                if pool is not None:
                    await pool.close()
                await log.close()
    except (LogUnavailable, ServerDidNotStart) as error:
        raise ServiceUnreachable(str(error)) from error
    except LogUnfit as error:
        raise Unsuccessful(str(error)) from error
    except REFUSED as error:
        raise Unsuccessful(f"the database: {error}") from error
    except UNAVAILABLE as error:
        raise ServiceUnreachable(f"the database cannot be used: {str(error) or type(error).__name__}") from error
