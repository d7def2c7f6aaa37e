"""The connection that listens, and on which tails read: what was read on it holds as long as it stands."""

import asyncio

import asyncpg

from events.log.port import LogUnavailable
from events.log.postgres.failures import within
from events.log.postgres.notifier import CHANNEL
from events.log.postgres.server import Server
from events.log.postgres.wakeups import EVERYTHING, Hub


class Session:
    """One connection, from its LISTEN until it is lost; then it is never made again.

    A server that stopped without writing everything to disk has lost its clients too. So no tail can read
    past such a stop without noticing, as long as it reads on one session alone.
    """

    def __init__(self, server: Server, hub: Hub, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._server = server
        self._hub = hub
        self._connection = connection
        self._turn = asyncio.Lock()
        self._reads: set[asyncio.Task[list[asyncpg.Record]]] = set()
        connection.add_termination_listener(self._ended)

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone."""
        return self._connection.is_closed()

    async def fetch(self, doing: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement. Raises LogUnavailable, and then the session is lost.

        Many tails share the connection: who stops waiting leaves the statement to its end, for cancelling it
        in the server takes a connection more, and the others would wait for that.
        """
        read = asyncio.create_task(self._fetch(doing, statement, arguments))
        self._reads.add(read)
        read.add_done_callback(self._done)
        return await asyncio.shield(read)

    def close(self) -> None:
        """End it."""
        self._server.abandon(self._connection)

    async def _fetch(self, doing: str, statement: str, arguments: tuple[object, ...]) -> list[asyncpg.Record]:
        try:
            async with within(self._server.limit_seconds, doing), self._turn:
                return await self._connection.fetch(statement, *arguments)
        except LogUnavailable:
            self.close()
            raise

    def _done(self, read: "asyncio.Task[list[asyncpg.Record]]") -> None:
        self._reads.discard(read)
        if not read.cancelled():
            read.exception()  # told to whoever waits; nobody may

    def _ended(self, connection: object) -> None:
        self._hub.announce([EVERYTHING])


class Sessions:
    """Gives the session that stands, and makes one where there is none."""

    def __init__(self, server: Server, hub: Hub) -> None:
        self._server = server
        self._hub = hub
        self._session: Session | None = None
        self._turn = asyncio.Lock()

    async def current(self) -> Session:
        """The session that stands. Raises LogUnavailable."""
        async with self._turn:
            if self._session is None or self._session.is_lost:
                self._session = await self._begin()
            return self._session

    def close(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.close()

    async def _begin(self) -> Session:
        async with within(self._server.limit_seconds, "listening to the log"):
            connection = await self._server.connect(waits_for_disk=True)
            try:
                await connection.add_listener(CHANNEL, self._hub.hear)
            except BaseException:
                self._server.abandon(connection)
                raise
        return Session(self._server, self._hub, connection)
