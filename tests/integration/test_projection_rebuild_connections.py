"""A rebuild reads partitions side by side, and gives its connections back as they were."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from events.log.port import Place, StoredRecord
from projections import rebuild as rebuilding
from projections.checkpoints import begin
from projections.database import UNAVAILABLE, Pool, open_pool
from projections.filling import FILLERS, Fresh, fill_places
from projections.folding import ProjectionStopped
from projections.lane import Lane
from projections.projection import Entry, Key, Projection
from projections.rebuild import AlreadyRebuilding, rebuild
from projections.runs import RUNS
from projections.tiers import TIERS, TierRow
from support.histories import ListLog, recorded, success
from support.tables import HISTORY_READERS, all_rows, tables_at_zero

PARTITIONS = 4
PROJECTS = [f"project-{number}" for number in range(12)]


class GatheringLog(ListLog):
    """A log of which a first read is answered once so many others wait beside it."""

    def __init__(self, at_once: int) -> None:
        super().__init__(PARTITIONS)
        self._barrier = asyncio.Barrier(at_once)
        self._met = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._barrier.n_waiting

    async def go_on(self) -> None:
        """Be one more of those that wait."""
        await self._barrier.wait()
        self._met = True

    async def read(self, place: Place, start: int, end: int | None = None) -> list[StoredRecord]:
        if not self._met:
            await self.go_on()
        return list(await super().read(place, start, end))


class OvertakingLog(ListLog):
    """While it is first read, somebody else fills all of that place, as a helper that was killed may have."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(PARTITIONS)
        self._pool = pool
        self.overtaken: Place | None = None

    async def read(self, place: Place, start: int, end: int | None = None) -> list[StoredRecord]:
        read = list(await super().read(place, start, end))
        if self.overtaken is None and end is not None:
            self.overtaken = place
            async with self._pool.acquire() as connection:
                fresh = Fresh(connection, self, RUNS)
                await connection.execute(fresh.path)
                await fill_places(fresh, connection, iter([(place, end)]))
                await connection.execute("RESET search_path")
        return read


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


async def served(pool: Pool, log: ListLog) -> None:
    for project in PROJECTS:
        log.write(recorded(success(), "run-1", project))
    assert {place.partition for place in log.records} == set(range(PARTITIONS))
    for place, records in log.records.items():
        async with pool.acquire() as connection:
            await begin(connection, HISTORY_READERS, place)
        await Lane(pool, place, 0, HISTORY_READERS).take(records)


async def paths(pool: Pool) -> set[str]:
    """The search paths of all the connections that the pool lends."""
    async with AsyncExitStack() as stack:
        lent = [await stack.enter_async_context(pool.acquire()) for _ in range(pool.get_max_size())]
        return {await connection.fetchval("SHOW search_path") for connection in lent}


async def test_partitions_are_read_side_by_side_and_the_table_is_the_same(pool: Pool) -> None:
    log, before = GatheringLog(FILLERS), await paths(pool)
    await served(pool, log)
    honest = await all_rows(pool)
    await pool.execute(f"UPDATE {RUNS.table} SET tokens_used = 1 WHERE project IN ('project-1', 'project-7')")
    async with asyncio.timeout(20):
        rebuilt = await rebuild(pool, log, RUNS)
    assert (rebuilt.rows, rebuilt.only_served, rebuilt.only_fresh) == (len(PROJECTS), 2, 2)
    assert await all_rows(pool) == honest
    assert await paths(pool) == before


async def test_of_two_rebuilds_at_once_the_second_waits_a_moment_and_is_refused(
    pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, another = GatheringLog(FILLERS + 1), ListLog(PARTITIONS)
    await served(pool, log)
    honest = await all_rows(pool)
    first = asyncio.create_task(rebuild(pool, log, RUNS))
    async with asyncio.timeout(20):
        while log.waiting < FILLERS:
            await asyncio.sleep(0.01)
    monkeypatch.setattr(rebuilding, "LOOKS", 3)
    own = await open_pool(database_url, most_connections=1)
    try:
        with pytest.raises(AlreadyRebuilding, match=r"^runs is being made again by somebody else$"):
            await rebuild(own, another, RUNS)
        await log.go_on()
        rebuilt = await first
        assert (rebuilt.rows, rebuilt.only_served, rebuilt.only_fresh) == (len(PROJECTS), 0, 0)
        assert await all_rows(pool) == honest
        assert (await rebuild(own, log, RUNS)).rows == len(PROJECTS)
    finally:
        await own.close()


async def test_what_another_has_filled_meanwhile_is_gone_on_with(pool: Pool) -> None:
    log = OvertakingLog(pool)
    await served(pool, log)
    honest = await all_rows(pool)
    rebuilt = await rebuild(pool, log, RUNS)
    assert log.overtaken is not None
    assert (rebuilt.rows, rebuilt.only_served, rebuilt.only_fresh) == (len(PROJECTS), 0, 0)
    assert await all_rows(pool) == honest


async def test_one_connection_is_enough(pool: Pool, database_url: str) -> None:
    log = ListLog(PARTITIONS)
    await served(pool, log)
    small = await open_pool(database_url, most_connections=1)
    try:
        async with asyncio.timeout(20):
            assert not (await rebuild(small, log, RUNS)).differs
    finally:
        await small.close()


async def test_what_stops_one_partition_ends_the_rebuild_and_leaves_nothing_behind(pool: Pool) -> None:
    log, before = ListLog(PARTITIONS), await paths(pool)
    await served(pool, log)
    honest = await all_rows(pool)
    for partition in range(PARTITIONS):
        with pytest.raises(ProjectionStopped, match="cannot fold this") as stopped:
            await rebuild(pool, log, unable_in(partition))
        assert isinstance(stopped.value.__cause__, RuntimeError)
        assert await paths(pool) == before
    assert await all_rows(pool) == honest
    assert await pool.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'autopack%'") == []


def unable_in(partition: int) -> Projection[TierRow]:
    """The tiers, which cannot be folded in one partition."""

    def project(rows: Mapping[Key, TierRow], entry: Entry) -> Iterable[TierRow]:
        if entry.partition == partition:
            raise RuntimeError("cannot fold this")
        return TIERS.project(rows, entry)

    return replace(TIERS, project=project)


class CuttingLog(ListLog):
    """A log of which every read ends some connections to the tables."""

    def __init__(self, pool: Pool, records: dict[Place, list[StoredRecord]], cut: list[int]) -> None:
        super().__init__(PARTITIONS)
        self.records.update(records)
        self._pool = pool
        self._cut = cut

    async def read(self, place: Place, start: int, end: int | None = None) -> list[StoredRecord]:
        await self._pool.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", self._cut)
        await asyncio.sleep(0.1)
        return list(await super().read(place, start, end))


@pytest.mark.parametrize("cut", [[0], [1], [0, 1]], ids=["its own", "its helper's", "both"])
async def test_a_connection_that_is_lost_in_its_midst_is_told_of_as_what_it_is(
    pool: Pool, database_url: str, cut: list[int]
) -> None:
    log = ListLog(PARTITIONS)
    await served(pool, log)
    own = await open_pool(database_url, most_connections=2)
    try:
        async with own.acquire() as one, own.acquire() as other:
            pids = [one.get_server_pid(), other.get_server_pid()]
        with pytest.raises(UNAVAILABLE) as lost:
            await rebuild(own, CuttingLog(pool, log.records, [pids[number] for number in cut]), RUNS)
    finally:
        own.terminate()
    assert "terminate()" not in str(lost.value)
    assert not (await rebuild(pool, log, RUNS)).differs
