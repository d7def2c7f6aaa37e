"""One place of the log: the lane that follows its end, and lanes that are catching up with it."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from events.log.port import EventLog, HistoryCutOff, Place, StoredRecord
from projections.checkpoints import begin, beyond, stop
from projections.database import WRITING_SECONDS, Pool, lent
from projections.lane import NOTHING_KNOWN, Alarm, Lane, no_alarm
from projections.projection import Projection

logger = structlog.get_logger(__name__)


class Follower:
    """Keeps the projections of a place up to date.

    Projections that stand at one offset share a lane, so that each record is read once for all of them. One
    that stands further back reads by itself until it has caught up, and joins. `stopped` are those that have come
    to a record that they cannot pass, by table and place, with the reason.
    """

    def __init__(
        self,
        pool: Pool,
        log: EventLog,
        place: Place,
        projections: Sequence[Projection[Any]],
        alarm: Alarm = no_alarm,
    ) -> None:
        self._alarm = alarm
        self.stopped: dict[str, str] = {}
        self._pool = pool
        self._log = log
        self.place = place
        self._projections = projections
        self._live = self._lane(0, [])
        self._turn = asyncio.Lock()
        self._catching_up: list[asyncio.Task[None]] = []
        self._cut_off: HistoryCutOff | None = None

    @property
    def offset(self) -> int:
        """From where the place is to be followed."""
        return self._live.offset

    @property
    def goes_on(self) -> bool:
        """Whether somebody follows the end of the place: all may have stopped at a record, which they say."""
        return bool(self._live.projections)

    @property
    def has_caught_up(self) -> bool:
        """Whether somebody that was behind has come to the end, or failed: taking anything says so."""
        return any(task.done() for task in self._catching_up)

    async def begin(self) -> None:
        """Find out where the projections stand, and let those that are behind catch up."""
        await self.end()
        self.stopped, self._cut_off = {}, None
        lanes = await self._lanes()
        self._live = lanes.pop()
        self._catching_up = [asyncio.create_task(self._catch_up(lane)) for lane in lanes]

    async def misses_somebody(self) -> bool:
        """Whether a projection could be followed and is not: it had stopped, and has been rebuilt since."""
        if self._catching_up or len(self._live.projections) == len(self._projections):
            return False
        following = {(p.name, p.version) for p in self._live.projections}
        async with lent(self._pool, WRITING_SECONDS) as connection:
            standings = await begin(connection, self._projections, self.place)
        return any(s.stopped_at is None and (s.projection, s.version) not in following for s in standings)

    async def _lanes(self) -> list[Lane]:
        """One lane an offset, the one that is furthest last."""
        by_name = {(p.name, p.version): p for p in self._projections}
        groups: dict[int, list[Projection[Any]]] = defaultdict(list)
        generations: dict[str, int] = {}
        async with lent(self._pool, WRITING_SECONDS) as connection:
            standings = await begin(connection, self._projections, self.place)
            # Looked up afterwards: another projector may still be moving the checkpoints.
            end = (await self._log.ends(self.place.topic)).get(self.place.partition, 0)
            for standing in standings:
                projection = by_name[standing.projection, standing.version]
                generations[standing.projection] = standing.generation
                if standing.next_offset > end:
                    error = beyond(end)
                    logger.error("projection stopped", projection=projection.table, error=error)
                    self.stopped[f"{projection.table} {self.place.topic}/{self.place.partition}"] = error
                    await stop(connection, projection, self.place, standing.next_offset, error)
                else:
                    groups[standing.next_offset].append(projection)
        lanes = [self._lane(offset, found, generations) for offset, found in sorted(groups.items())]
        return lanes or [self._lane(end, [])]

    def _lane(
        self, offset: int, projections: Sequence[Projection[Any]], generations: Mapping[str, int] = NOTHING_KNOWN
    ) -> Lane:
        return Lane(
            self._pool, self.place, offset, projections, self._alarm, generations, self.stopped.__setitem__
        )

    async def take(self, records: Sequence[StoredRecord]) -> None:
        """Fold what came at the end of the place. Raises Overtaken, and what ended a catching up."""
        for task in [task for task in self._catching_up if task.done()]:
            self._catching_up.remove(task)
            task.result()
        async with self._turn:
            if self._live.projections:
                await self._live.take(records)
            if records and not self._live.projections:
                # All may have stopped in the midst of these: who catches up has to read those behind by itself.
                self._live.offset = max(self._live.offset, records[-1].offset + 1)

    async def stand_still(self, cut: HistoryCutOff) -> None:
        """What comes next at the end was deleted. Who is behind still reads what there is up to there."""
        async with self._turn:
            self._cut_off = cut
            await self._live.stand_still(cut)

    async def _catch_up(self, lane: Lane) -> None:
        while lane.projections:
            try:
                records = await self._log.read(self.place, lane.offset, self._live.offset)
            except HistoryCutOff as cut:
                await lane.stand_still(cut)
                return
            await lane.take(records, None if records else self._live.offset)
            async with self._turn:
                if lane.offset == self._live.offset:
                    self._live.join(lane)
                    if self._cut_off is not None:
                        await self._live.stand_still(self._cut_off)
                    return

    async def end(self) -> None:
        """Leave the place; what has been written stays."""
        tasks, self._catching_up = self._catching_up, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
