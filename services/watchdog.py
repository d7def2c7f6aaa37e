"""A silent consumer is not a healthy one: who stands still with something left to read is not ready, and says it.

A loop that waits for what never comes, or a client of the log that brings nothing any more, looks like one that
has nothing to do. So positions are held against the ends of the log, from beside.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import structlog

from events.log.port import EventLog, HistoryCutOff, LogUnavailable, Place
from services.status import ServiceStatus

STILL_SECONDS = 30.0
LOOK_SECONDS = 10.0
MOST_BETWEEN_SECONDS = 2 * LOOK_SECONDS
"""Whoever has not looked for longer, because the log was away or all of us stood still, begins anew."""
HINDRANCE = "progress"
logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Standing:
    """Since when this is the position with something left to read, and up to where nothing but a gap was left."""

    position: int
    since: float
    gap_to: int = 0


class Watchdog:
    """Looks again and again at `where` somebody has read to: the next offset of each place that is followed."""

    def __init__(
        self,
        log: EventLog,
        status: ServiceStatus,
        where: Callable[[], Mapping[Place, int]],
        still_seconds: float,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._log = log
        self._status = status
        self._where = where
        self._still_seconds = still_seconds
        self._seconds = seconds
        self._standings: dict[Place, _Standing] = {}
        self._looked_at = self._seconds()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except LogUnavailable:
                # Whoever is watched waits for it as well, and says so.
                self._standings.clear()
                self._status.unhinder(HINDRANCE)
            except Exception:
                logger.exception("watching failed", service=self._status.name)

    async def look(self) -> None:
        """Hinder the service where it stands still, and not where it goes on. Raises LogUnavailable."""
        if self._seconds() - self._looked_at > MOST_BETWEEN_SECONDS:
            self._standings.clear()
        positions = dict(self._where())
        ends = {topic: await self._log.ends(topic) for topic in {place.topic for place in positions}}
        self._standings = {place: self._standing(place, position) for place, position in positions.items()}
        stuck = []
        for place, standing in self._standings.items():
            end = ends[place.topic].get(place.partition, 0)
            if await self._is_stuck(place, standing, end) and self._where().get(place) == standing.position:
                at = f"at offset {standing.position} of {end}"
                stuck.append(f"stands still in {place.topic}, partition {place.partition}, {at}")
        self._looked_at = self._seconds()
        if stuck:
            self._status.hinder(HINDRANCE, "; ".join(stuck))
        else:
            self._status.unhinder(HINDRANCE)

    def _standing(self, place: Place, position: int) -> _Standing:
        before = self._standings.get(place)
        return before if before and before.position == position else _Standing(position, self._seconds())

    async def _is_stuck(self, place: Place, standing: _Standing, end: int) -> bool:
        if end <= max(standing.position, standing.gap_to):
            standing.since = self._seconds()
            return False
        if self._seconds() - standing.since < self._still_seconds:
            return False
        if await self._is_gap(place, standing.position, end):
            standing.gap_to, standing.since = end, self._seconds()
            return False
        return True

    async def _is_gap(self, place: Place, start: int, end: int) -> bool:
        """Whether no record is there: all of them may have been deleted, and offsets may have gaps."""
        try:
            return not await self._log.read(place, start, end)
        except (HistoryCutOff, LogUnavailable):
            return False  # there is an end, and no way to it


class Reader(Protocol):
    """A service that follows the log."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""

    def read_to(self) -> Mapping[Place, int]:
        """The next offset to be read of each place that is followed."""


def watched(log: EventLog, status: ServiceStatus, service: Reader) -> Callable[[asyncio.Event], Awaitable[None]]:
    """What runs the service, and watches it meanwhile."""

    async def run(stop: asyncio.Event) -> None:
        watching = asyncio.create_task(Watchdog(log, status, service.read_to, STILL_SECONDS).run())
        try:
            await service.run(stop)
        finally:
            watching.cancel()
            await asyncio.wait({watching})

    return run
