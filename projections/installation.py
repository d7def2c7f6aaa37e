"""Making tables and indexes beside whoever waits for them: who is cut off while it takes long ends nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from projections.database import INSTALLING_SECONDS, Connection, install
from projections.projection import Projection


class InstallingTakesTooLong(ConnectionError):
    """Tables and indexes were not made in the time that there is for them. To those who wait that is an outage."""

    def __init__(self, limit_seconds: float) -> None:
        super().__init__(f"tables and indexes were not made within {limit_seconds:g} s")


class Installation:
    """The tables of some projections, made once, in a task and on a connection of its own.

    A server goes on building an index for somebody who has gone, rolls it back in the end, and whoever tries again
    meanwhile waits for that: so it is not begun anew for each who loses patience.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], projections: Iterable[Projection[Any]]
    ) -> None:
        self._connect = connect
        self._projections = tuple(projections)
        self._is_made = not self._projections
        self._making: asyncio.Task[None] | None = None
        self.is_under_way = False

    async def made(self) -> None:
        """Return when all is there. Raises what made it impossible, and the next who asks has it tried again."""
        if self._is_made:
            return
        making = self._making = self._making or asyncio.create_task(self._make(), name="installing")
        await asyncio.wait({making})  # whoever is cut off here leaves it going
        if self._making is making:  # a fault stands until somebody has heard it, however late
            self._making = None
        if making.cancelled():
            raise ConnectionAbortedError("the database is being left")
        making.result()

    async def end(self) -> None:
        """Give it up, where it is under way."""
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait({self._making})

    async def _make(self) -> None:
        try:
            async with asyncio.timeout(INSTALLING_SECONDS) as limit:
                await self._install()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise InstallingTakesTooLong(INSTALLING_SECONDS) from error
        self._is_made = True

    async def _install(self) -> None:
        connection = await self._connect()
        self.is_under_way = True
        try:
            await install(connection, self._projections)
        finally:
            self.is_under_way = False
            connection.terminate()  # it waits for nothing, and what was committed is
