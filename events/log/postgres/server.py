"""The connections of one log to its server: two pools, and what stands on a connection of its own."""

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from events.log.port import LogUnavailable
from events.log.postgres.failures import OUTAGES, within

DURABLE_CONNECTIONS = 4
LAZY_CONNECTIONS = 2
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
CLOSING_SECONDS = 2.0
CLOSED = "the log has been closed"
LOST = "a connection to the log was lost, and records may have been with it"


def raise_lost(doing: str, connection: "asyncpg.Connection[asyncpg.Record]", error: Exception) -> None:
    """Raise LogUnavailable where a connection was cut in the midst of a call: the driver itself stumbles then."""
    if connection.is_closed() and not isinstance(error, (LogUnavailable, *OUTAGES)):
        raise LogUnavailable(f"{doing}: {LOST}") from error


class Server:
    """Makes connections, and counts those that were lost: with each of them records may have been.

    After a failed attempt the next one waits a little, and longer each time.
    """

    def __init__(self, url: str, limit_seconds: float) -> None:
        self._url = url
        self._failures = 0
        self._is_closing = False
        self._connections: set[asyncpg.Connection[asyncpg.Record]] = set()
        self.limit_seconds = limit_seconds
        self.losses = 0

    async def connect(self, *, waits_for_disk: bool) -> "asyncpg.Connection[asyncpg.Record]":
        """A new connection, to a server that takes writes. Raises what the driver raises."""
        if self._is_closing:
            raise LogUnavailable(CLOSED)
        if self._failures:
            await asyncio.sleep(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self._failures))
        try:
            connection = await self._connect(waits_for_disk)
        except Exception:
            self._failures = min(self._failures + 1, 10)
            raise
        self._failures = 0
        if self._is_closing:
            connection.terminate()
            raise LogUnavailable(CLOSED)
        connection.add_termination_listener(self._lost)
        self._connections.add(connection)
        return connection

    def abandon(self, connection: Any) -> None:
        """Cut a connection off in the middle of whatever it does. It does not count as lost."""
        # One that has been lost at the same moment is the pool's no longer. To complain of that here would take
        # the place of the cancellation that led here, and whoever cancelled would wait for ever.
        with suppress(asyncpg.InterfaceError):
            connection.remove_termination_listener(self._lost)
            self._connections.discard(connection)
            connection.terminate()

    def leave(self) -> None:
        """Cut every connection: the server takes no writes any more, so others have taken over from it.

        Each of them counts as lost, for the new server may never have had what the old one took last.
        """
        for connection in list(self._connections):
            connection.terminate()

    def close(self) -> None:
        """Make no more connections."""
        self._is_closing = True

    async def _connect(self, waits_for_disk: bool) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(
            self._url,
            timeout=self.limit_seconds,
            target_session_attrs=SessionAttribute.read_write,
            max_cached_statement_lifetime=0,  # for ever: each is prepared once a connection
            max_cacheable_statement_size=0,  # none is too long for that
            server_settings={
                "application_name": "autopack log",
                "synchronous_commit": "on" if waits_for_disk else "off",
                "jit": "off",
                "plan_cache_mode": "force_generic_plan",  # all statements are by key: no values have a better plan
            },
        )

    def _lost(self, connection: Any) -> None:
        self._connections.discard(connection)
        if not self._is_closing:
            self.losses += 1


class Pool:
    """Connections for single statements; with `waits_for_disk` a statement has returned when it is durable.

    The driver's own pool takes longer to lend a connection and to get it back than a short statement takes. Here
    nothing has to be reset, since single statements leave nothing behind.
    """

    def __init__(self, server: Server, *, waits_for_disk: bool) -> None:
        self._server = server
        self._waits_for_disk = waits_for_disk
        self._size = DURABLE_CONNECTIONS if waits_for_disk else LAZY_CONNECTIONS
        self._room = asyncio.Semaphore(self._size)
        self._idle: list[asyncpg.Connection[asyncpg.Record]] = []
        self._lent: set[asyncpg.Connection[asyncpg.Record]] = set()

    @property
    def losses(self) -> int:
        """How many connections of this log were lost by now, of this pool or others."""
        return self._server.losses

    async def fetch(
        self, doing: str, statement: str, *arguments: object, losses: int | None = None
    ) -> list[asyncpg.Record]:
        """Run one statement, which is a transaction of its own. Raises LogUnavailable, also where more than
        `losses` were counted once there was a connection: then what was known before may not be true any more.
        """
        async with within(self._server.limit_seconds, doing), self._room:
            connection = await self._connected()
            self._lent.add(connection)
            try:
                if losses is not None and losses != self.losses:
                    raise LogUnavailable(f"{doing}: {LOST}")
                return await connection.fetch(statement, *arguments)
            except asyncio.CancelledError:
                # What it was doing goes on in the server; nothing else must wait for that.
                self._server.abandon(connection)
                raise
            except asyncpg.ReadOnlySQLTransactionError:
                self._server.leave()
                raise
            except Exception as error:
                raise_lost(doing, connection, error)
                raise
            finally:
                self._lent.discard(connection)
                if not connection.is_closed():
                    self._idle.append(connection)

    async def close(self) -> None:
        """Close every connection, by force where the server does not answer, or something takes long to be done.

        The server makes no more of them by then.
        """
        await self._until_nobody_is_at_it()
        for busy in self._lent:
            self._server.abandon(busy)
        idle, self._idle = self._idle, []
        await asyncio.gather(*(_closed(connection) for connection in idle))

    async def _until_nobody_is_at_it(self) -> None:
        taken = 0
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                while taken < self._size:
                    await self._room.acquire()
                    taken += 1
        except TimeoutError:
            return
        finally:
            for _ in range(taken):
                self._room.release()

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await self._server.connect(waits_for_disk=self._waits_for_disk)


async def _closed(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    try:
        await connection.close(timeout=CLOSING_SECONDS)
    except (TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
        connection.terminate()
