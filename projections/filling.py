"""Filling a fresh table from the log: several partitions at once, and where there are many events in processes."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncpg

from events.log.port import EventLog, Place
from projections.checkpoints import Overtaken, begin
from projections.database import Connection, Pool, lent
from projections.lane import fold_into
from projections.memories import Memories
from projections.projection import Projection
from projections.writing import Move

SCHEMA_PREFIX = "autopack_rebuild_"
FILLERS = 2
"""So many partitions are read at once: while the database writes the rows of one, another's are folded."""
WORTH_HELPING = 10_000
"""A share of fewer records is folded about as soon as a process for it has started."""


@dataclass(slots=True)
class Fresh:
    """The fresh table under way: its schema is all of a connection's path, so the same code fills it."""

    connection: Connection
    log: EventLog
    projection: Projection[Any]
    offsets: dict[Place, int] = field(default_factory=dict)

    @property
    def schema(self) -> str:
        """Where the fresh table is."""
        return f"{SCHEMA_PREFIX}{self.projection.name}"

    @property
    def path(self) -> str:
        """A statement that puts it in the place of the served one, which none that is meant for it can reach."""
        return f'SET search_path TO "{self.schema}"'


@dataclass(frozen=True, slots=True)
class Share:
    """What a helper is asked for: a projection's rows of these places, from offset 0 to the one given for each."""

    projection: str
    targets: Mapping[Place, int]


class Helper(Protocol):
    """Fills a share beside us, in a process of its own."""

    async def fill(self, share: Share) -> None:
        """Return when nothing more comes of it, or when it is cancelled; then nobody writes there any more.

        How far it came stands in the fresh checkpoints. What it has left is filled here, or fails here.
        """


async def fill(fresh: Fresh, pool: Pool, targets: Mapping[Place, int], helpers: Sequence[Helper] = ()) -> None:
    """Partitions side by side, on this connection and on others, as far as the pool has some to spare.

    Raises what `fill_places` raises.
    """
    ours, *theirs = shares(targets, 1 + len(helpers))
    try:
        async with asyncio.TaskGroup() as group:
            for helper, share in zip(helpers, theirs, strict=False):
                group.create_task(helper.fill(Share(fresh.projection.name, share)))
            group.create_task(_fill_here(fresh, pool, ours))
        if theirs:
            fresh.offsets.clear()  # what a helper has left, and whatever else is not there
            await _fill_here(fresh, pool, targets)
    except ExceptionGroup as errors:
        first: Exception = errors
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        raise first from first.__cause__


def shares(targets: Mapping[Place, int], most: int) -> list[dict[Place, int]]:
    """The places in so many shares or fewer, of about equal size. All but the first are worth a process."""
    made: list[dict[Place, int]] = [{} for _ in range(most)]
    for place in sorted(targets, key=lambda one: -targets[one]):
        min(made, key=_size)[place] = targets[place]
    first, *others = sorted(made, key=_size, reverse=True)
    for share in others:
        if _size(share) < WORTH_HELPING:
            first |= share
    return [first, *(share for share in others if _size(share) >= WORTH_HELPING)]


def _size(share: Mapping[Place, int]) -> int:
    return sum(share.values())


async def _fill_here(fresh: Fresh, pool: Pool, targets: Mapping[Place, int]) -> None:
    todo = iter(targets.items())
    spare = pool.get_max_size() - pool.get_size() + pool.get_idle_size()
    async with asyncio.TaskGroup() as group:
        group.create_task(fill_places(fresh, fresh.connection, todo))
        for _ in range(min(FILLERS, len(targets), 1 + spare) - 1):
            group.create_task(_help_to_fill(fresh, pool, todo))


async def _help_to_fill(fresh: Fresh, pool: Pool, todo: Iterator[tuple[Place, int]]) -> None:
    async with lent(pool) as connection:
        try:
            await connection.execute(fresh.path)
            await fill_places(fresh, connection, todo)
            await connection.execute("RESET search_path")
        except BaseException:
            with suppress(asyncpg.InterfaceError):  # it was cut, and is the pool's again
                connection.terminate()  # or whoever it is lent to next would write into the fresh table
            raise


async def fill_places(fresh: Fresh, connection: Connection, todo: Iterator[tuple[Place, int]]) -> None:
    """Fill one place after another, each from where the fresh table stands there.

    Raises ProjectionStopped, RowsRefused, HistoryCutOff, LogUnavailable; Overtaken where it was put back.
    """
    for place, target in todo:
        if place not in fresh.offsets:
            fresh.offsets[place] = await _standing(fresh, connection, place)
        memories = Memories()
        while (start := fresh.offsets[place]) < target:
            records = await fresh.log.read(place, start, target)
            end = records[-1].offset + 1 if records else target
            try:
                await fold_into(connection, Move(place, [fresh.projection], start, end), records, memories)
            except Overtaken:  # by what the server still had from a helper that was killed
                memories.forget()
                end = await _standing(fresh, connection, place)
                if end <= start:
                    raise
            fresh.offsets[place] = end


async def _standing(fresh: Fresh, connection: Connection, place: Place) -> int:
    (standing,) = await begin(connection, [fresh.projection], place)
    return standing.next_offset
