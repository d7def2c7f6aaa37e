"""A real Postgres for tests: the server that Autopack brings, and a database of its own for each test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from services.embedded.postgres import EmbeddedPostgres


class PostgresServer:
    """A share in the session's server. Workers of one session that are given one home share one server."""

    def __init__(self, home: Path) -> None:
        self._embedded = EmbeddedPostgres(home)

    @property
    def url(self) -> str:
        """The address of the maintenance database."""
        return self._embedded.url

    async def start(self) -> None:
        """Take a share."""
        await self._embedded.start()

    async def stop(self) -> None:
        """Give it back."""
        await self._embedded.release()

    @asynccontextmanager
    async def fresh_database(self) -> AsyncIterator[str]:
        """Make an empty database, give its address, and drop it in the end, whoever is still connected."""
        name = f"test_{uuid4().hex}"
        await self._execute(f"CREATE DATABASE {name}")
        try:
            yield _with_database(self.url, name)
        finally:
            await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
