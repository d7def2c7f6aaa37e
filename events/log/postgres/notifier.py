"""Telling other processes that there is something new."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection

import asyncpg

from events.log.port import LogUnavailable
from events.log.postgres.failures import within
from events.log.postgres.server import Server
from events.log.postgres.wakeups import CHANNELS, Hub, Sign

MAX_PAYLOAD_BYTES = 7_900
logger = logging.getLogger(__name__)

_NOTIFY = """
SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS sign (channel, payload)
WHERE pg_notification_queue_usage() < 0.5
"""


class Notifier:
    """Announces signs here at once and to other processes soon: all that gather during one NOTIFY go in the next.

    Never inside the append: a transaction that notifies holds a lock over the whole cluster while it commits,
    and all other appends would wait for its fsync. For the same reason its own connection does not wait for
    the disk. A notification that gets lost costs its readers a second: they look by themselves that often.
    """

    def __init__(self, server: Server, hub: Hub) -> None:
        self._server = server
        self._hub = hub
        self._signs: set[Sign] = set()
        self._is_due = asyncio.Event()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._speaks_as = 0
        """The server's process behind the connection, which one that has been cut cannot tell any more."""
        self._task = asyncio.create_task(self._run())

    def announce(self, signs: Collection[Sign]) -> None:
        """Wake whoever waits for these signs. Returns at once."""
        self._hub.announce(signs)
        self._signs.update(signs)
        self._is_due.set()

    async def close(self) -> None:
        """Send what is still to be sent, and end it."""
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._signs:
            await self._send()
        self._drop()

    async def _run(self) -> None:
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            try:
                await self._send()
            except Exception:  # a fault of ours or of the driver: others hear of what is new a second later
                logger.exception("notifying failed")
                self._drop()

    async def _send(self) -> None:
        signs, self._signs = self._signs, set()
        try:
            async with within(self._server.limit_seconds, "notifying"):
                connection = await self._connected()
                await connection.execute(_NOTIFY, *_by_channel(signs))
        except (LogUnavailable, asyncpg.PostgresError) as error:
            logger.info("%s", error)
            self._drop()
        except asyncio.CancelledError:
            self._signs |= signs
            self._drop()
            raise

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            self._drop()
            self._connection = await self._server.connect(waits_for_disk=False)
            self._speaks_as = self._connection.get_server_pid()
            self._hub.speaks_with(self._speaks_as)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._hub.falls_silent(self._speaks_as)
            self._server.abandon(self._connection)
            self._connection = None


def _by_channel(signs: Collection[Sign]) -> tuple[list[str], list[str]]:
    """The channels, and what is sent on each. Where too much is new for one payload, a reader misses some of it
    until it looks by itself.
    """
    details: dict[str, list[str]] = defaultdict(list)
    for sign in sorted(signs):
        details[CHANNELS + sign.channel].append(sign.detail)
    return list(details), [" ".join(found)[:MAX_PAYLOAD_BYTES] for found in details.values()]
