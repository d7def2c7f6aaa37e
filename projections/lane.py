"""A lane: projections that stand at the same offset of one place, and move on together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import asyncpg
import structlog

from events.catalogue import Topic
from events.failpoints import failpoint
from events.log.port import HistoryCutOff, Place, StoredRecord
from events.log.telling import event_id
from projections.checkpoints import RunKey, stop
from projections.database import UNAVAILABLE, WRITING_SECONDS, Connection, Pool, lent
from projections.folding import (
    Changes,
    ProjectionStopped,
    RowsRefused,
    fold,
    fold_refused,
    unreadable,
    wanted_entries,
)
from projections.memories import Memories
from projections.projection import Projection
from projections.reading import Chained, chain_up, parse, read_links
from projections.writing import Move, try_rows, write_move

logger = structlog.get_logger(__name__)


Alarm = Callable[[str, str], None]
"""Tells somebody who must look: what it is about, and what it is."""


def no_alarm(key: str, message: str) -> None:
    """Nobody is told; it stands in the database all the same."""


NOTHING_KNOWN: Mapping[str, int] = MappingProxyType({})
"""No generation of any rows."""

BYTES_AT_ONCE = 8 * 1024 * 1024
"""What one transaction takes: junk can be large, and rows are larger than the records that they are made of."""


def _lots(records: Sequence[StoredRecord]) -> Iterator[list[StoredRecord]]:
    lot: list[StoredRecord] = []
    size_bytes = 0
    for record in records:
        if lot and size_bytes + len(record.value) > BYTES_AT_ONCE:
            yield lot
            lot, size_bytes = [], 0
        lot.append(record)
        size_bytes += len(record.value)
    if lot:
        yield lot


class Lane:
    """Takes batches in order. A projection that cannot go on leaves it, and says so beside its checkpoint."""

    def __init__(
        self,
        pool: Pool,
        place: Place,
        offset: int,
        projections: Sequence[Projection[Any]],
        alarm: Alarm = no_alarm,
        generations: Mapping[str, int] = NOTHING_KNOWN,
        stopped: Alarm | None = None,
    ) -> None:
        self._pool = pool
        self._alarm = alarm
        self._stopped = stopped or alarm
        self._generations = dict(generations)
        self._memories = Memories()
        self.place = place
        self.offset = offset
        self.projections = list(projections)

    async def take(self, records: Sequence[StoredRecord], end: int | None = None) -> None:
        """Fold records, some of which may have been taken before, up to `end` or behind the last of them.

        Raises Overtaken where somebody else has moved the checkpoints: then they are to be read anew.
        """
        news = [record for record in records if record.offset >= self.offset]
        lots = list(_lots(news))
        for lot in lots[:-1]:
            await self._take_lot(lot, lot[-1].offset + 1)
        last = lots[-1] if lots else ()
        await self._take_lot(last, last[-1].offset + 1 if last and end is None else end)

    async def _take_lot(self, news: Sequence[StoredRecord], target: int | None) -> None:
        while self.projections and target is not None and target > self.offset:
            try:
                await self._commit(news, target)
            except ProjectionStopped as stopped:
                await self._leave(stopped, news)
            except RowsRefused as refused:
                await self._narrow_down(refused, news, target)

    async def _narrow_down(self, refused: RowsRefused, news: Sequence[StoredRecord], target: int) -> None:
        """Find the one record whose rows the database refuses, by halves."""
        if len(news) <= 1:
            offset, error = self.offset, refused.error
            if news:
                offset, error = news[0].offset, f"event {event_id(news[0].value)}: {refused.error}"
            await self._leave(ProjectionStopped(refused.projection, offset, error), news)
            return
        middle = len(news) // 2
        await self.take(news[:middle])
        await self.take(news[middle:], target)

    async def _leave(self, stopped: ProjectionStopped, news: Sequence[StoredRecord]) -> None:
        """Let the projection come as far as it can, on its own, and stay there."""
        self.projections.remove(stopped.projection)
        alone = self._lane_of(stopped.projection)
        await alone.take([record for record in news if record.offset < stopped.offset], stopped.offset)
        if not alone.projections:
            return
        logger.error("projection stopped", projection=stopped.projection.table, **_where(stopped, self.place))
        self._stopped(f"{stopped.projection.table} {self.place.topic}/{self.place.partition}", str(stopped))
        async with lent(self._pool, WRITING_SECONDS) as connection:
            await stop(connection, stopped.projection, self.place, stopped.offset, stopped.error)

    def _lane_of(self, projection: Projection[Any]) -> "Lane":
        """A lane from here for one projection alone."""
        return Lane(
            self._pool, self.place, self.offset, [projection], self._alarm, self._generations, self._stopped
        )

    async def _commit(self, news: Sequence[StoredRecord], end: int) -> None:
        """Rows, heads and checkpoint at once. Whatever fails, nothing is known any more of what was there."""
        move = Move(self.place, self.projections, self.offset, end, self._generations)
        try:
            async with lent(self._pool, WRITING_SECONDS) as connection:
                forked = await fold_into(connection, move, news, self._memories)
        except BaseException:
            self._memories.forget()
            raise
        failpoint("rows-committed")
        self.offset = end
        for (project, run_id), reason in forked.items():
            logger.error("history forked", project=project, run=run_id, reason=reason)
            self._alarm(f"run {project}/{run_id}", f"in quarantine: {reason}")

    async def stand_still(self, cut: HistoryCutOff) -> None:
        """What comes next was deleted: none of the projections goes on from here, and each says so."""
        for projection in list(self.projections):
            await self._leave(ProjectionStopped(projection, self.offset, str(cut)), ())

    def join(self, other: "Lane") -> None:
        """Take in the projections of a lane that stands at the same offset."""
        self.projections.extend(other.projections)
        self._generations |= other._generations
        self._memories.forget()


def _where(stopped: ProjectionStopped, place: Place) -> dict[str, Any]:
    where = {"topic": place.topic, "partition": place.partition, "offset": stopped.offset}
    return {**where, "error": stopped.error}


async def fold_into(
    connection: Connection, move: Move, records: Sequence[StoredRecord], memories: Memories
) -> Mapping[RunKey, str]:
    """Fold the records of a move, and write what changes; the runs that forked there.

    Raises Overtaken, ProjectionStopped, RowsRefused. After any of them the memories are worth nothing.
    """
    if move.place.topic is Topic.REJECTIONS:
        changes = [made for projection in move.projections for made in fold_refused(projection, records)]
        chained = Chained((), {}, {})
    else:
        changes, chained = await _folded(connection, move.projections, records, memories)
    failpoint("rows-folded")
    try:
        await write_move(connection, move, changes, chained.heads)
    except UNAVAILABLE:
        raise
    except asyncpg.PostgresError as error:
        raise await _refused(connection, changes, error) from error
    memories.written(chained.heads)
    return chained.forked


async def _folded(
    connection: Connection,
    projections: Sequence[Projection[Any]],
    records: Sequence[StoredRecord],
    memories: Memories,
) -> tuple[list[Changes[Any]], Chained]:
    links, junk = read_links(records)
    if junk is not None:
        # One projection after another meets it, and each of them stops.
        raise unreadable(projections[0], junk.record, junk.error)
    chained = chain_up(links, await memories.heads(connection, projections[0], (one.run for one in links)))
    parsed = parse(chained.links, projections)
    changes = []
    for projection in projections:
        entries = wanted_entries(projection, parsed)
        changes.extend(fold(projection, await memories.groups(connection, projection, entries), entries))
    return changes, chained


async def _refused(
    connection: Connection, changes: Sequence[Changes[Any]], error: asyncpg.PostgresError
) -> Exception:
    """Whose rows the database refuses: each projection's are tried alone, and taken back."""
    last = changes[-1].projection if changes else None
    for change in changes:
        if change.projection is last:
            break
        trial = connection.transaction()
        await trial.start()
        try:
            await try_rows(connection, change)
        except UNAVAILABLE:
            raise
        except asyncpg.PostgresError as own:
            return RowsRefused(change.projection, own)
        finally:
            await trial.rollback()
    return error if last is None else RowsRefused(last, error)
