"""Hearing that the tables have changed."""

import asyncio
from typing import Protocol

import structlog

from projections.database import CHANNEL, UNAVAILABLE, Connection, Pool, lent, must_take_writes
from projections.pausing import until_set

POLL_SECONDS = 1.0
LOOK_SECONDS = 2.0
LIMIT_SECONDS = 5.0
NOTICES = "notices"

logger = structlog.get_logger(__name__)


class Alarms(Protocol):
    """Where it is said that somebody must look at something."""

    def alarm(self, key: str, message: str) -> None:
        """Somebody must look at this."""

    def clear(self, key: str) -> None:
        """The alarm's cause is gone."""


class Changes:
    """Wakes those who wait for the tables to change. One connection listens for all of a process.

    Whoever waits looks again every `POLL_SECONDS` in any case: a notice can be lost with its connection.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._came = asyncio.Event()

    async def listen(self, alarms: Alarms) -> None:
        """Listen until cancelled; a lost connection is made anew.

        Any other fault is an alarm, and tried again: meanwhile those who wait look by the clock alone.
        """
        while True:
            try:
                await self._listen(alarms)
            except UNAVAILABLE as error:
                logger.info("not listening to the tables", error=str(error))
            except Exception as error:
                logger.exception("listening to the tables failed")
                alarms.alarm(NOTICES, f"notices of the tables are not heard: {type(error).__name__}: {error}")
            self._notify()
            await asyncio.sleep(POLL_SECONDS)

    async def _listen(self, alarms: Alarms) -> None:
        async with lent(self._pool) as connection:
            gone = asyncio.Event()

            def left(_: object) -> None:
                gone.set()

            connection.add_termination_listener(left)
            await connection.add_listener(CHANNEL, self._heard)
            alarms.clear(NOTICES)
            self._notify()
            while not gone.is_set():
                await until_set(LOOK_SECONDS, gone)
                await _still_the_first(connection)

    def _heard(self, connection: object, process: int, channel: str, payload: object) -> None:
        self._notify()

    def _notify(self) -> None:
        self._came.set()
        self._came = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Set at the next change. Take it before you look, so that no change falls in between."""
        return self._came


async def _still_the_first(connection: Connection) -> None:
    """Nothing is heard on a connection that leads to a server from which another has taken over.

    Whoever only reads is told of that by nobody. Raises ReadOnlySQLTransactionError, and TimeoutError where the
    server does not answer: then the connection is cut.
    """
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await must_take_writes(connection)
    except TimeoutError:
        connection.terminate()
        raise
