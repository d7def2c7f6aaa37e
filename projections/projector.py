"""The projector: follows the history and the rejections, and keeps every table up to date."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog

from events.catalogue import Topic
from events.log.port import EventLog, LogUnavailable, Membership, Place, StoredRecord, Tail
from projections.catalogue import PROJECTIONS
from projections.checkpoints import Overtaken
from projections.database import UNAVAILABLE, Pool, install
from projections.follower import Follower
from projections.projection import Projection

GROUP = "projector"
WAIT_SECONDS = 0.5
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

logger = structlog.get_logger(__name__)


class Report(Protocol):
    """Where the projector says how it stands."""

    def ready(self) -> None:
        """It follows all of its partitions."""

    def unavailable(self, trouble: str) -> None:
        """It waits for a server."""

    def alarm(self, key: str, message: str) -> None:
        """Somebody must look at this."""


class Projector:
    """One of the processes that share out the partitions among themselves.

    A database or log that is away is waited for: then everything is let go, and begun anew from what the
    checkpoints say.
    """

    def __init__(
        self,
        pool: Pool,
        log: EventLog,
        report: Report,
        projections: Sequence[Projection[Any]] = PROJECTIONS,
    ) -> None:
        self._pool = pool
        self._log = log
        self._report = report
        self._projections = tuple(projections)
        self.partitions: frozenset[int] = frozenset()
        """The partitions that are followed at the moment."""

    async def run(self) -> None:
        """Follow until cancelled."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._session()
            except Overtaken as overtaken:
                logger.info("projector overtaken", detail=str(overtaken))
                pause = FIRST_PAUSE_SECONDS
            except (LogUnavailable, *UNAVAILABLE) as error:
                self._report.unavailable(f"{type(error).__name__}: {error}")
                logger.warning("projector waits", error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _session(self) -> None:
        async with self._pool.acquire() as connection:
            await install(connection, self._projections)
        membership = await self._log.join(GROUP)
        try:
            await Session(self._pool, self._log, self._projections, self._report, self).follow(membership)
        finally:
            self.partitions = frozenset()
            with suppress(LogUnavailable, *UNAVAILABLE):
                await membership.leave()


class Session:
    """From joining the group to the first fault of a server."""

    def __init__(
        self,
        pool: Pool,
        log: EventLog,
        projections: Sequence[Projection[Any]],
        report: Report,
        projector: Projector,
    ) -> None:
        self._pool = pool
        self._log = log
        self._projections = projections
        self._report = report
        self._projector = projector
        self._tail: Tail = log.tail()
        self._followers: dict[Place, Follower] = {}

    async def follow(self, membership: Membership) -> None:
        """Fold what comes in the own partitions. Raises what made it impossible."""
        try:
            while True:
                if membership.partitions != self._projector.partitions:
                    await self._share(membership.partitions)
                    self._report.ready()
                await self._take(await self._tail.batches(WAIT_SECONDS))
        finally:
            await asyncio.gather(*(follower.end() for follower in self._followers.values()))
            await self._tail.close()

    async def _share(self, own: frozenset[int]) -> None:
        """Leave the partitions that are no longer ours, and begin with those that are new."""
        wanted = {Place(topic, partition) for topic in self._topics() for partition in own}
        for place in set(self._followers) - wanted:
            self._tail.unfollow(place)
            await self._followers.pop(place).end()
        for place in sorted(wanted - set(self._followers), key=lambda p: (p.topic, p.partition)):
            await self._begin(place)
        self._projector.partitions = own

    def _topics(self) -> frozenset[Topic]:
        return frozenset(topic for projection in self._projections for topic in projection.topics)

    async def _begin(self, place: Place) -> None:
        readers = [projection for projection in self._projections if place.topic in projection.topics]
        follower = Follower(self._pool, self._log, place, readers, self._report.alarm)
        self._followers[place] = follower
        await follower.begin()
        self._tail.follow(place, follower.offset)

    async def _take(self, batches: Mapping[Place, Sequence[StoredRecord]]) -> None:
        """Places side by side; one that was overtaken begins anew where the other has come to."""
        followers = list(self._followers.items())
        taken = (follower.take(batches.get(place, ())) for place, follower in followers)
        outcomes = await asyncio.gather(*taken, return_exceptions=True)
        for (place, follower), outcome in zip(followers, outcomes, strict=True):
            if isinstance(outcome, Overtaken):
                logger.info("projector overtaken", detail=str(outcome))
                await follower.begin()
                self._tail.follow(place, follower.offset)
            elif isinstance(outcome, BaseException):
                raise outcome
