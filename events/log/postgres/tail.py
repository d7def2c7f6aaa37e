"""Following places of the log: woken by whoever writes, and looking every second anyway."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from events.catalogue import Topic
from events.log.port import LogUnavailable, Missing, Place, StoredRecord
from events.log.postgres.reading import HEADS, cut_off, place_arrays
from events.log.postgres.server import LOST, Server
from events.log.postgres.sessions import Session, Sessions
from events.log.postgres.wakeups import EVERYTHING, Hub, Sign, sign_of, sign_of_type

LOOK_SECONDS = 1.0


class PostgresTail:
    """Follows places, on one session from the first read on.

    A server that is stopped without its last writes reaching the disk gives offsets of results and output
    out again. So a tail that loses its session, or a log that has lost any connection since the tail was
    made, is over: from then on `batches` raises LogUnavailable every time. Its owner makes a new one, and
    takes no position in those topics from before, but folds anew from what the history holds.
    """

    def __init__(self, server: Server, sessions: Sessions, hub: Hub) -> None:
        self._server = server
        self._sessions = sessions
        self._session: Session | None = None
        self._losses = server.losses
        self._sleeper = hub.sleeper()
        self._positions: dict[Place, int] = {}
        self._places: dict[Sign, Place] = {}
        self._channels: frozenset[str] = frozenset()
        self._stale: set[Place] = set()
        self._new: set[Place] = set()
        self._missing: list[Missing] = []
        self._look_at = 0.0
        self._is_closed = False

    def follow(self, place: Place, offset: int, prompt: Collection[str] | None = None) -> None:
        """Add a place, or move it to an offset."""
        self._heed_no_more(place)
        self._positions[place] = offset
        self._new.add(place)
        signs = [sign_of(place)] if prompt is None else [sign_of_type(place, event) for event in prompt]
        for sign in signs:
            self._places[sign] = place
            self._sleeper.heed(sign)
        self._channels |= {sign.channel for sign in signs}
        self._sleeper.wake(signs)
        self._stale.add(place)

    def unfollow(self, place: Place) -> None:
        """Leave a place; none of its records comes any more."""
        self._positions.pop(place, None)
        self._heed_no_more(place)

    def _heed_no_more(self, place: Place) -> None:
        for sign in [sign for sign, sought in self._places.items() if sought == place]:
            self._sleeper.ignore(sign)
            del self._places[sign]

    async def batches(self, wait_seconds: float) -> Mapping[Place, Sequence[StoredRecord]]:
        """What has come, by place; waits up to `wait_seconds` for the first record.

        Raises LogUnavailable, and HistoryCutOff where the history no longer holds what is to be read.
        Cancelling it loses nothing: what was not returned comes again.
        """
        now = asyncio.get_running_loop().time
        until = now() + wait_seconds
        while True:
            self._take_note(now())
            found = await self._read()
            if found or now() >= until:
                return found
            if not self._stale:
                await self._sleeper.sleep_until(min(until, self._look_at))

    def take_missing(self) -> Sequence[Missing]:
        """What was found to be missing since this was last asked."""
        found, self._missing = self._missing, []
        return found

    async def close(self) -> None:
        """End it."""
        self._is_closed = True

    def _take_note(self, now: float) -> None:
        signs = self._sleeper.take()
        if EVERYTHING in signs or now >= self._look_at:
            self._stale.update(self._positions)
            self._look_at = now + LOOK_SECONDS
        else:
            self._stale.update(self._places[sign] for sign in signs if sign in self._places)
        self._stale &= self._positions.keys()

    async def _read(self) -> dict[Place, list[StoredRecord]]:
        """Read the places where there may be something new. Every look begins with the session's own state."""
        session = await self._standing()
        if not self._stale:
            return {}
        asked = {place: self._positions[place] for place in self._stale}
        heads = await self._heads(session, [place for place in asked if place in self._new])
        found, with_more = await session.look(asked)
        # While the answer was on its way a place may have been left, or moved.
        unmoved = {place for place, offset in asked.items() if self._positions.get(place) == offset}
        read = unmoved - with_more
        firsts = {place: head for place, head in heads.items() if place in read}
        firsts |= {place: records[0].offset for place, records in found.items() if place in unmoved}
        for place, first in firsts.items():
            if place in heads and asked[place] > heads[place]:
                raise LogUnavailable(f"{place} ends at {heads[place]}, and was to be read from {asked[place]}")
            self._look_for_missing(place, asked[place], first)
        self._stale -= read
        self._new -= firsts.keys()
        delivered = {place: records for place, records in found.items() if place in unmoved}
        for place, records in delivered.items():
            self._positions[place] = records[-1].offset + 1
        return delivered

    async def _heads(self, session: Session, places: Sequence[Place]) -> dict[Place, int]:
        """Where places end that have just begun to be followed: all of them may have been deleted."""
        if not places:
            return {}
        rows = await session.fetch("following the log", HEADS, *place_arrays(places))
        return {places[row["which"] - 1]: row["next_offset"] for row in rows}

    def _look_for_missing(self, place: Place, position: int, first: int) -> None:
        """Offsets have no gaps here: what does not begin where it should has been deleted."""
        if first <= position:
            return
        if place.topic is Topic.EVENTS:
            raise cut_off(place, position, first)
        self._missing.append(Missing(place, position, first))
        self._positions[place] = first

    async def _standing(self) -> Session:
        if self._is_closed:
            raise LogUnavailable("the tail has been closed")
        if self._losses != self._server.losses or (self._session is not None and self._session.is_lost):
            raise LogUnavailable(LOST)
        if self._session is None:
            session = await self._sessions.current()
            if self._losses != self._server.losses:
                return await self._standing()
            self._session = session
        await self._session.listen(self._channels)
        return self._session
