"""Following places of the log: brought what is written by its notifications, and looking every second anyway."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from events.catalogue import Topic
from events.log.port import HistoryCutOff, LogUnavailable, Missing, Place, StoredRecord
from events.log.postgres.inbox import Inbox
from events.log.postgres.reading import HEADS, place_arrays
from events.log.postgres.server import LOST, Server
from events.log.postgres.sessions import Session, Sessions
from events.log.postgres.wakeups import BROUGHT, EVERYTHING, Hub, sign_of

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
        self._sleeper.heed(BROUGHT)
        self._inboxes: dict[Place, Inbox] = {}
        self._stale: set[Place] = set()
        self._new: set[Place] = set()
        self._unlistened: set[Place] = set()
        self._missing: list[Missing] = []
        self._look_at = 0.0
        self._is_closed = False

    def follow(self, place: Place, offset: int, prompt: Collection[str] | None = None) -> None:
        """Add a place, or move it to an offset."""
        # Whoever brings something holds the inbox, and must not hold this tail by it.
        wake = partial(self._sleeper.wake, (BROUGHT,))
        self._inboxes[place] = Inbox(place, offset, prompt, wake)
        self._sleeper.heed(sign_of(place))
        self._unlistened.add(place)
        self._new.add(place)
        self._stale.add(place)
        wake()

    def unfollow(self, place: Place) -> None:
        """Leave a place; none of its records comes any more."""
        if self._inboxes.pop(place, None) is not None:
            self._sleeper.ignore(sign_of(place))

    async def batches(self, wait_seconds: float) -> Mapping[Place, Sequence[StoredRecord]]:
        """What has come, by place; waits up to `wait_seconds` for the first record.

        Raises LogUnavailable, and HistoryCutOff where the history no longer holds what is to be read.
        Cancelling it loses nothing: what was not returned comes again.
        """
        now = asyncio.get_running_loop().time
        until = now() + wait_seconds
        while True:
            self._take_note(now())
            found = await self._next()
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
        self._inboxes.clear()

    def _take_note(self, now: float) -> None:
        signs = self._sleeper.take()
        if EVERYTHING in signs or now >= self._look_at:
            self._stale.update(self._inboxes)
            self._look_at = now + LOOK_SECONDS
        else:
            self._stale.update(
                place for place, inbox in self._inboxes.items() if inbox.lags or sign_of(place) in signs
            )
        self._stale &= self._inboxes.keys()

    async def _next(self) -> dict[Place, list[StoredRecord]]:
        """What was read where there may be something new, and what was brought behind that.

        Every look begins with the session's own state.
        """
        session = await self._standing()
        found = await self._read(session) if self._stale else {}
        for place, inbox in self._inboxes.items():
            if place not in self._stale and (brought := inbox.take()):
                found.setdefault(place, []).extend(brought)
        return found

    async def _read(self, session: Session) -> dict[Place, list[StoredRecord]]:
        """What lies behind that which was brought: from there on there may be something new."""
        inboxes = {place: self._inboxes[place] for place in self._stale & self._inboxes.keys()}
        asked = {place: inbox.next for place, inbox in inboxes.items()}
        heads = await self._heads(session, [place for place in asked if place in self._new])
        found, with_more = await session.look(asked)
        # While the answer was on its way a place may have been left, or moved, and more have been brought.
        unmoved = {place for place, inbox in inboxes.items() if self._inboxes.get(place) is inbox}
        read = unmoved - with_more
        firsts = {place: head for place, head in heads.items() if place in read}
        firsts |= {place: records[0].offset for place, records in found.items() if place in unmoved}
        for place, first in firsts.items():
            if place in heads and asked[place] > heads[place]:
                raise LogUnavailable(f"{place} ends at {heads[place]}, and was to be read from {asked[place]}")
            if first > asked[place] and place.topic is Topic.EVENTS:
                raise HistoryCutOff(place, asked[place], first)
        self._stale -= read
        self._new -= firsts.keys()
        delivered = {place: self._behind(place, found.get(place, []), firsts.get(place)) for place in unmoved}
        return {place: records for place, records in delivered.items() if records}

    def _behind(self, place: Place, read: Sequence[StoredRecord], first: int | None) -> list[StoredRecord]:
        """What was brought, then what was read. Offsets have no gaps here: one tells that records were deleted."""
        inbox = self._inboxes[place]
        brought = inbox.take()
        if first is not None and first > inbox.position:
            self._missing.append(Missing(place, inbox.position, first))
            inbox.move_to(first)
        news = [record for record in read if record.offset >= inbox.position]
        if news:
            inbox.move_to(news[-1].offset + 1)
        return brought + news

    async def _heads(self, session: Session, places: Sequence[Place]) -> dict[Place, int]:
        """Where places end that have just begun to be followed: all of them may have been deleted."""
        if not places:
            return {}
        rows = await session.fetch("following the log", HEADS, *place_arrays(places))
        return {places[row["which"] - 1]: row["next_offset"] for row in rows}

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
        while self._unlistened:
            place = next(iter(self._unlistened))
            if (inbox := self._inboxes.get(place)) is not None:
                await self._session.bring(place, inbox)
            if self._inboxes.get(place) is inbox:
                self._unlistened.discard(place)
        return self._session
