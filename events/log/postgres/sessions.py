"""The connection that listens, and on which tails read: what was read on it holds as long as it stands."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

import asyncpg

from events.log.port import LogUnavailable, Place, StoredRecord
from events.log.postgres.failures import within
from events.log.postgres.grouping import Group
from events.log.postgres.inbox import Inbox
from events.log.postgres.pushing import Channels
from events.log.postgres.reading import PAGE_BYTES, PAGE_RECORDS, PAGES, place_arrays
from events.log.postgres.rows import stored
from events.log.postgres.server import Server, raise_lost
from events.log.postgres.wakeups import CHANNELS, EVERYTHING, Hub, sign_of

T = TypeVar("T")


class Look(NamedTuple):
    """What a look at several places found: the records by place, and the places that may hold more."""

    found: Mapping[Place, list[StoredRecord]]
    with_more: frozenset[Place]


class Session:
    """One connection that listens, until it is lost; then it is never made again.

    A server that stopped without writing everything to disk has lost its clients too. So no tail can read
    past such a stop without noticing, as long as it reads on one session alone.
    """

    def __init__(
        self, server: Server, hub: Hub, channels: Channels, connection: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        self._server = server
        self._hub = hub
        self._channels = channels
        self._connection = connection
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._inboxes: dict[str, WeakSet[Inbox]] = {}
        self._listened: set[str] = set()
        self._looks = Group("looking at the log", self._look_together)
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
        return await self._to_its_end(doing, self._connection.fetch(statement, *arguments))

    async def look(self, positions: Mapping[Place, int]) -> Look:
        """The next records behind each of these offsets, some of them. Raises LogUnavailable, as above."""
        return await self._looks.ask(positions)

    async def _look_together(self, asked: Sequence[Mapping[Place, int]]) -> list[Look]:
        """What all tails look for goes into one statement, and they share a page."""
        whose = [(number, place) for number, positions in enumerate(asked) for place in positions]
        places = [place for _, place in whose]
        starts = [start for positions in asked for start in positions.values()]
        rows = await self.fetch("following the log", PAGES, *place_arrays(places), starts)
        found: list[dict[Place, list[StoredRecord]]] = [{} for _ in asked]
        for row in rows:
            number, place = whose[row["which"] - 1]
            found[number].setdefault(place, []).append(stored(place.topic, place.partition, row))
        is_full = sum(len(row["value"]) for row in rows) >= PAGE_BYTES
        return [Look(own, _with_more(own, at, is_full)) for own, at in zip(found, asked, strict=True)]

    async def bring(self, place: Place, inbox: Inbox) -> None:
        """Bring this inbox what is written to the place from now on: whoever waits has to read once more after
        that. Letting go of the inbox ends it.

        Raises LogUnavailable, and then the session is lost.
        """
        channel = self._channels.of(place)
        self._inboxes.setdefault(channel, WeakSet()).add(inbox)
        await self._listen(channel, self._hear)
        await self.listen(sign_of(place).channel)

    async def listen(self, channel: str) -> None:
        """Hear of these signs from now on: whoever waits has to read once more after that. Raises as `bring`."""
        await self._listen(CHANNELS + channel, self._hub.hear)

    async def _listen(self, channel: str, hear: Callable[[object, int, str, object], None]) -> None:
        if channel not in self._listened:
            await self._to_its_end("listening to the log", self._connection.add_listener(channel, hear))
            self._listened.add(channel)

    def _hear(self, connection: object, server_process_id: int, channel: str, payload: object) -> None:
        inboxes = list(self._inboxes[channel])
        pushed = self._channels.heard(channel, str(payload)) if inboxes else None
        if pushed is not None:
            for inbox in inboxes:
                inbox.bring(pushed)

    def close(self) -> None:
        """End it."""
        self._server.abandon(self._connection)

    async def _to_its_end(self, doing: str, work: Coroutine[Any, Any, T]) -> T:
        running = asyncio.create_task(self._in_turn(doing, work))
        self._running.add(running)
        running.add_done_callback(self._done)
        return await asyncio.shield(running)

    async def _in_turn(self, doing: str, work: Coroutine[Any, Any, T]) -> T:
        try:
            async with within(self._server.limit_seconds, doing), self._turn:
                return await work
        except LogUnavailable:
            self.close()
            raise
        except Exception as error:
            raise_lost(doing, self._connection, error)
            raise
        finally:
            work.close()

    def _done(self, running: "asyncio.Task[Any]") -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # told to whoever waits; nobody may

    def _ended(self, connection: object) -> None:
        self._hub.announce([EVERYTHING])


def _with_more(
    found: Mapping[Place, list[StoredRecord]], asked: Iterable[Place], is_full: bool
) -> frozenset[Place]:
    if is_full:
        return frozenset(asked)
    return frozenset(place for place, records in found.items() if len(records) == PAGE_RECORDS)


class Sessions:
    """Gives the session that stands, and makes one where there is none."""

    def __init__(self, server: Server, hub: Hub, channels: Channels) -> None:
        self._server = server
        self._hub = hub
        self._channels = channels
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
        return Session(self._server, self._hub, self._channels, connection)
