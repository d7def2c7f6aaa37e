"""The servers that the services talk to: those that are configured, else the embedded one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.embedded.postgres import EmbeddedPostgres
from services.settings import Settings


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses: of the log (`kafka://…` or `postgresql://…`), and of the database of the read models."""

    log_url: str
    database_url: str


@asynccontextmanager
async def open_servers(settings: Settings) -> AsyncIterator[Servers]:
    """The addresses, with the embedded server held as long as it is needed. Raises ServerDidNotStart."""
    if settings.log and settings.database:
        yield Servers(settings.log, settings.database)
        return
    async with EmbeddedPostgres(settings.home_folder) as embedded:
        yield Servers(settings.log or embedded.url, settings.database or embedded.url)
