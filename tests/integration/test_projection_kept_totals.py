"""Sums over all runs that are kept are those that reading every row gives, whatever happened in between."""

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest

from events.catalogue import Topic
from events.history import HistoryRecord
from events.log.port import Place
from projections.checkpoints import begin
from projections.database import Pool
from projections.lane import Lane
from projections.metrics import METRICS
from projections.projection import Projection
from projections.queries import kept_totals
from projections.queries.kept_totals import KeptTotals
from projections.queries.totals import Totals, read_figures, read_totals
from projections.rebuild import rebuild
from projections.runs import RUNS
from support.histories import ListLog, failure, random_history, recorded, success
from support.tables import tables_at_zero

PARTITIONS = 2
READERS = (RUNS, METRICS)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few runs are many blocks, and few changes many."""
    statement = kept_totals._BLOCK.replace(f"LIMIT {kept_totals.RUNS_A_BLOCK}", "LIMIT 3")
    monkeypatch.setattr(kept_totals, "_BLOCK", statement)
    monkeypatch.setattr(kept_totals, "RUNS_A_BLOCK", 3)
    monkeypatch.setattr(kept_totals, "BLOCKS_AT_ONCE", 2)
    monkeypatch.setattr(kept_totals, "MOST_CHANGED", 8)


async def whole(pool: Pool) -> Totals:
    async with pool.acquire() as connection:
        return await read_totals(connection)


class Story:
    """The histories of many runs, one among the other, folded bit by bit."""

    def __init__(self, pool: Pool, seed: int) -> None:
        self.random = random.Random(seed)
        self.log = ListLog(PARTITIONS, gap=2)
        self._pool = pool
        self._records = self._shuffled(seed)
        self._offsets = {(place, r.name): 0 for place in self.places() for r in READERS}

    def places(self) -> list[Place]:
        return [Place(Topic.EVENTS, partition) for partition in range(PARTITIONS)]

    async def begin(self) -> None:
        async with self._pool.acquire() as connection:
            for place in self.places():
                await begin(connection, READERS, place)

    def _shuffled(self, seed: int) -> Iterator[HistoryRecord]:
        """In the order of each history, and in none among them."""
        histories = [
            random_history(seed, 200),
            *(recorded(success(), f"good-{n}", f"project-{n % 4}") for n in range(6)),
            *(recorded(failure(), f"bad-{n}", f"project-{n % 4}") for n in range(6)),
        ]
        waiting = [iter(history) for history in histories]
        while waiting:
            one = self.random.choice(waiting)
            for _ in range(self.random.randrange(1, 9)):
                record = next(one, None)
                if record is None:
                    waiting.remove(one)
                    break
                yield record

    async def goes_on(self) -> bool:
        """Some more events, of which both tables, or one alone, take some."""
        records = [record for _, record in zip(range(self.random.randrange(1, 60)), self._records, strict=False)]
        self.log.write(records)
        readers = self.random.choice([READERS, READERS, (RUNS,), (METRICS,)])
        for place in self.places():
            for reader in readers:
                await self._fold(place, reader)
        return bool(records)

    async def catches_up(self) -> None:
        for place in self.places():
            for reader in READERS:
                await self._fold(place, reader)

    async def _fold(self, place: Place, reader: Projection[Any]) -> None:
        start = self._offsets[place, reader.name]
        news = [record for record in self.log.records[place] if record.offset >= start]
        if news:
            await Lane(self._pool, place, start, [reader]).take(news)
            self._offsets[place, reader.name] = news[-1].offset + 1

    async def is_made_again(self) -> KeptTotals:
        """One table is, after totals were kept of rows of it that the log does not tell of; those totals."""
        await self.catches_up()
        one = self.random.choice(READERS)
        change = "state = 'DONE_SUCCESS'" if one is RUNS else "builds = builds + 7, cost_usd = 0.1"
        await self._pool.execute(f"UPDATE {one.table} SET {change}")
        kept = KeptTotals()
        assert await kept.read(self._pool.acquire) == await whole(self._pool)
        await rebuild(self._pool, self.log, one)
        return kept


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", range(6))
async def test_kept_totals_are_those_of_all_rows_through_rebuilds_and_restarts(pool: Pool, seed: int) -> None:
    story = Story(pool, seed)
    await story.begin()
    kept = KeptTotals()
    while await story.goes_on():
        chance = story.random.random()
        if chance < 0.1:
            kept = await story.is_made_again()
        elif chance < 0.2:
            kept = KeptTotals()
        assert await kept.read(pool.acquire) == await whole(pool)
    await story.catches_up()
    assert await kept.read(pool.acquire) == await whole(pool)


@pytest.mark.usefixtures("small_blocks")
async def test_only_the_block_of_a_run_that_has_changed_is_read_again(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(pool, 7)
    await story.begin()
    while await story.goes_on():
        pass
    await story.catches_up()
    kept, read = KeptTotals(), []
    monkeypatch.setattr(kept_totals, "read_figures", lambda *asked: (read.append(asked), read_figures(*asked))[1])
    before = await kept.read(pool.acquire)
    assert len(read) > 4
    read.clear()
    assert (await kept.read(pool.acquire), read) == (before, [])
    story.log.write(recorded(success(), "another", "project-1")[:1])
    await story.catches_up()
    after = await kept.read(pool.acquire)
    assert sum(after.runs_by_state.values()) == sum(before.runs_by_state.values()) + 1
    assert len(read) in (1, 2), "its block, in two where it has become too large for one"


@pytest.mark.usefixtures("small_blocks")
async def test_reading_that_was_broken_off_goes_on_from_there(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(pool, 8)
    await story.begin()
    kept = KeptTotals()
    breaks = iter([True, False, True, False, False] * 100)

    async def breaking(*asked: Any) -> Any:
        if next(breaks):
            raise ConnectionResetError("cut")
        return await read_figures(*asked)

    monkeypatch.setattr(kept_totals, "read_figures", breaking)
    while await story.goes_on():
        with suppress(ConnectionResetError):
            await kept.read(pool.acquire)
    await story.catches_up()
    monkeypatch.setattr(kept_totals, "read_figures", read_figures)
    assert await kept.read(pool.acquire) == await whole(pool)
