"""Sums over all runs that are kept, and brought up to date by what has changed since they were last asked for."""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction

from events.catalogue import Topic
from projections.database import Connection
from projections.metrics import METRICS
from projections.queries.totals import (
    METRICS_COLUMNS,
    RUNS_COLUMNS,
    Figure,
    Figures,
    Totals,
    read_figures,
    read_totals,
    totals_of,
    totals_statement,
)
from projections.runs import RUNS

RUNS_A_BLOCK = 250
BLOCKS_AT_ONCE = 40
MOST_CHANGED = 5_000

Lend = Callable[[], AbstractAsyncContextManager[Connection]]
"""Gives a connection for a moment, and no longer."""

Spot = tuple[datetime, int]
"""Where a run stands among all runs: when it was asked for, and its row's id. It never changes."""

_FIRST: Spot = (datetime.min.replace(tzinfo=UTC), 0)
_LAST: Spot = (datetime.max.replace(tzinfo=UTC), 0)

_STANDING = f"""
SELECT projection, partition, next_offset, generation FROM projection_checkpoints
WHERE topic = '{Topic.EVENTS}'
  AND (projection, version) IN (('{RUNS.name}', {RUNS.version}), ('{METRICS.name}', {METRICS.version}))
"""

# Every event of a run moves its last offset. In order, so that the index is the way whatever is expected of it.
_CHANGED = f"""
SELECT run.created_at, run.id
FROM unnest($1::int[], $2::bigint[]) AS seen (partition, next_offset),
    LATERAL (
        SELECT created_at, id FROM {RUNS.table}
        WHERE partition = seen.partition AND last_offset >= seen.next_offset
        ORDER BY last_offset LIMIT {MOST_CHANGED + 1}) AS run
LIMIT {MOST_CHANGED + 1}
"""

_WITHIN = "(created_at, id) > ($1, $2) AND (created_at, id) <= ($3, $4) ORDER BY created_at, id"

_CUT = f"SELECT created_at, id FROM {RUNS.table} WHERE {_WITHIN} OFFSET $5 LIMIT 1"

# The limit lets the server see that a block is small; it would read all of the other table else.
_BLOCK = totals_statement(
    f"""MATERIALIZED (
    SELECT project, run_id, {RUNS_COLUMNS} FROM {RUNS.table} WHERE {_WITHIN} LIMIT {RUNS_A_BLOCK})""",
    f"MATERIALIZED (SELECT {METRICS_COLUMNS} FROM shown JOIN {METRICS.table} USING (project, run_id))",
)


@dataclass(frozen=True, slots=True)
class _Standing:
    """Up to where both tables hold the history, by partition, and the generations of their rows."""

    reached: Mapping[int, int]
    generations: Mapping[tuple[str, int], int]

    def follows(self, earlier: "_Standing | None") -> bool:
        """Whether these are the same rows, some events later."""
        return (
            earlier is not None
            and earlier.generations.items() <= self.generations.items()
            and all(self.reached.get(partition, 0) >= offset for partition, offset in earlier.reached.items())
        )


class KeptTotals:
    """Sums over all runs that cost what has changed, however many runs there are.

    Runs are taken in blocks, in the order in which they were asked for. The sums of each block are remembered,
    and those of all blocks together; a block in which a run has changed since is read again. What was read of a
    block is worth the same whenever it was read, so reading may be broken off anywhere, and goes on from there.
    Where rows were put in the place of others, all begins anew. Where the two tables hold different parts of the
    history, all is read for that once.
    """

    def __init__(self) -> None:
        self._reading: asyncio.Task[Totals] | None = None
        self._standing: _Standing | None = None
        self._starts: list[Spot] = []
        self._blocks: dict[Spot, Figures] = {}
        self._unread: set[Spot] = set()
        self._sums: dict[Figure, Fraction] = {}

    async def read(self, lend: Lend) -> Totals:
        """The sums, exactly those of `read_totals`. Who asks meanwhile gets the same. Raises TimeoutError."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(lend), name="reading totals")
            self._reading.add_done_callback(_told)
        return await asyncio.shield(self._reading)

    async def _read(self, lend: Lend) -> Totals:
        while True:
            async with lend() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
                standing = await _read_standing(connection)
                if standing is None:
                    return await read_totals(connection)
                await self._mark_changed(connection, standing)
                await self._read_some(connection)
            if not self._unread:
                return totals_of(self._sums)

    async def _mark_changed(self, connection: Connection, standing: _Standing) -> None:
        """From here on the blocks that count as read hold what stands there now."""
        changed = None
        if self._standing is not None and standing.follows(self._standing):
            changed = await _read_changed(connection, self._standing, standing)
        if changed is None:
            self._begin_anew()
        else:
            for start in {self._starts[bisect_left(self._starts, spot) - 1] for spot in changed}:
                self._drop(start)
        self._standing = standing

    async def _read_some(self, connection: Connection) -> None:
        for _ in range(BLOCKS_AT_ONCE):
            if not self._unread:
                return
            start = min(self._unread)
            end = await self._cut(connection, start)
            figures = await read_figures(connection, _BLOCK, *start, *end)
            self._unread.remove(start)
            self._blocks[start] = figures
            self._add(figures, 1)

    async def _cut(self, connection: Connection, start: Spot) -> Spot:
        """Where a block ends, after what is too much for one has become another."""
        index = bisect_right(self._starts, start)
        end = self._starts[index] if index < len(self._starts) else _LAST
        row = await connection.fetchrow(_CUT, *start, *end, RUNS_A_BLOCK - 1)
        if row is None or (row["created_at"], row["id"]) == end:
            return end
        cut = (row["created_at"], row["id"])
        insort(self._starts, cut)
        self._unread.add(cut)
        return cut

    def _begin_anew(self) -> None:
        self._starts, self._unread = [_FIRST], {_FIRST}
        self._blocks.clear()
        self._sums.clear()

    def _drop(self, start: Spot) -> None:
        if start not in self._unread:
            self._unread.add(start)
            self._add(self._blocks.pop(start), -1)

    def _add(self, figures: Figures, times: int) -> None:
        for figure, value in figures.items():
            self._sums[figure] = self._sums.get(figure, Fraction(0)) + times * value


def _told(reading: "asyncio.Task[Totals]") -> None:
    """Whoever asked may have gone: nobody need hear of a failure."""
    if not reading.cancelled():
        reading.exception()


async def _read_standing(connection: Connection) -> _Standing | None:
    """How the two tables stand; None where they hold different parts of the history."""
    reached: dict[str, dict[int, int]] = {RUNS.name: {}, METRICS.name: {}}
    generations = {}
    for row in await connection.fetch(_STANDING):
        reached[row["projection"]][row["partition"]] = row["next_offset"]
        generations[row["projection"], row["partition"]] = row["generation"]
    if reached[RUNS.name] != reached[METRICS.name]:
        return None
    return _Standing(reached[RUNS.name], generations)


async def _read_changed(connection: Connection, before: _Standing, now: _Standing) -> Sequence[Spot] | None:
    """Where the runs stand that have changed; None where they are so many that to begin anew is less work."""
    moved = {partition: before.reached.get(partition, 0) for partition in now.reached}
    moved = {partition: seen for partition, seen in moved.items() if seen < now.reached[partition]}
    if not moved:
        return ()
    found = await connection.fetch(_CHANGED, list(moved), list(moved.values()))
    return [(row["created_at"], row["id"]) for row in found] if len(found) <= MOST_CHANGED else None
