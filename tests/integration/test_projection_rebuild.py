"""What the tables hold follows from the records alone."""

import random
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest

from events.log.port import StoredRecord
from events.state import Project, Run
from projections.catalogue import PROJECTIONS
from projections.checkpoints import Overtaken
from projections.database import Pool
from projections.lane import Lane
from projections.queries.runs import read_run
from projections.rebuild import prune, rebuild
from projections.runs import RUNS
from projections.status import Standing, read_status
from support.histories import ListLog, failure, folded, random_history, recorded, success
from support.scenario import Scenario
from support.tables import EVENTS, HISTORY_READERS, all_rows, start_at_zero, tables_at_zero


def cut(records: Sequence[StoredRecord], random_source: random.Random) -> list[Sequence[StoredRecord]]:
    """Batches of odd sizes, each of which may come again, or overlap the one before."""
    places = sorted({0, len(records), *(random_source.randrange(len(records)) for _ in range(12))})
    batches = []
    for start, end in pairwise(places):
        batches.append(records[max(0, start - random_source.randrange(3)) : end])
        if random_source.random() < 0.3:
            batches.append(records[start:end])
    return batches


def story(seed: int) -> list[StoredRecord]:
    log = ListLog(gap=2)
    log.write(random_history(seed))
    return log.records[EVENTS]


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


@pytest.mark.parametrize("seed", range(8))
async def test_a_rebuild_gives_the_tables_that_odd_and_repeated_batches_gave(pool: Pool, seed: int) -> None:
    records = story(seed)
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    for batch in cut(records, random.Random(seed)):
        await lane.take(batch)
    assert lane.projections == HISTORY_READERS
    live = await all_rows(pool)
    await start_at_zero(pool)
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(records)
    rebuilt = await all_rows(pool)
    assert live == rebuilt
    assert len(rebuilt["timeline_v1"]) == len(records)


async def test_records_that_stand_twice_in_the_log_are_folded_once(pool: Pool) -> None:
    log, history = ListLog(), recorded(success())
    log.write([*history[:9], *history[3:9], *history[9:], *history[-4:]])
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    doubled = await all_rows(pool)
    await start_at_zero(pool)
    plain = ListLog()
    plain.write(history)
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(plain.records[EVENTS])
    once = await all_rows(pool)
    assert len(doubled["timeline_v1"]) == len(once["timeline_v1"]) == len(history)
    assert doubled["metrics_v2"] == once["metrics_v2"]
    assert doubled["phases_v1"] == once["phases_v1"]


async def shown(pool: Pool, project: str) -> dict[str, Any]:
    """What the tables say of runs, phases and tiers."""
    async with pool.acquire() as connection:
        found: dict[str, Any] = {}
        for run in await connection.fetch("SELECT * FROM runs_v2 WHERE project = $1", project):
            of = (project, run["run_id"])
            phases = await connection.fetch(
                "SELECT phase_id, state, tokens_used FROM phases_v1 "
                "WHERE project = $1 AND run_id = $2 AND state IS NOT NULL",
                *of,
            )
            tiers = await connection.fetch(
                "SELECT tier_id, state, tokens_used, ci_runs_used FROM tiers_v1 "
                "WHERE project = $1 AND run_id = $2 AND state IS NOT NULL",
                *of,
            )
            head = (run["head_commit"], run["tokens_used"], run["ci_runs_used"], run["tokens_lower_bound"])
            found[run["run_id"]] = (
                run["state"],
                head,
                sorted(tuple(p) for p in phases),
                sorted(tuple(t) for t in tiers),
            )
        return found


def decided(run: Run) -> Any:
    """The same of a run, as the decider has it."""
    return (
        run.shown_state,
        (run.head, run.tokens_used, run.ci_runs_used, run.usage_unknown),
        sorted((p.spec.phase_id, p.state, p.tokens_used) for p in run.phases),
        sorted((t.tier_id, t.state, t.tokens_used, t.ci_runs_used) for t in run.tiers),
    )


@pytest.mark.parametrize("seed", range(100, 106))
async def test_after_every_event_the_tables_show_what_the_decider_knows(pool: Pool, seed: int) -> None:
    history = random_history(seed, 250)
    log = ListLog()
    log.write(history)
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    for number, record in enumerate(log.records[EVENTS], 1):
        await lane.take([record])
        project: Project = folded(history[:number])
        found = await shown(pool, "shop")
        for run in project.runs.values():
            assert found[run.run_id] == decided(run), (seed, number, record.type_name)
        for run_id, ended in project.ended.items():
            assert found[run_id][0] == ended.state
            assert found[run_id][1][0] == ended.head
    assert lane.projections == HISTORY_READERS


async def test_a_zombie_writes_nothing_and_is_told(pool: Pool) -> None:
    log = ListLog()
    log.write(recorded(success()))
    records = log.records[EVENTS]
    owner, zombie = (Lane(pool, EVENTS, 0, HISTORY_READERS) for _ in range(2))
    await owner.take(records[:20])
    written = await all_rows(pool)
    with pytest.raises(Overtaken):
        await zombie.take(records[:25])
    assert await all_rows(pool) == written
    await owner.take(records)
    assert len((await all_rows(pool))["timeline_v1"]) == len(records)


async def test_a_rebuild_beside_the_served_table_finds_and_mends_what_was_tampered_with(pool: Pool) -> None:
    log = ListLog()
    log.write([*recorded(success(), "good"), *recorded(failure(), "bad")])
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    await lane.take(log.records[EVENTS])
    honest = await all_rows(pool)
    same = await rebuild(pool, log, RUNS, replace=False)
    assert (same.comparable, same.differs, same.rows) == (True, False, 2)
    await pool.execute("UPDATE runs_v2 SET tokens_used = 1 WHERE run_id = 'good'")
    await pool.execute("DELETE FROM runs_v2 WHERE run_id = 'bad'")
    mended = await rebuild(pool, log, RUNS)
    assert (mended.differs, mended.only_served, mended.only_fresh) == (True, 1, 2)
    assert await all_rows(pool) == honest
    log.write(recorded(success(), "later"))
    await lane.take(log.records[EVENTS])
    async with pool.acquire() as connection:
        assert (await read_run(connection, "later")).run.state == "DONE_SUCCESS"
        schemas = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'autopack%'")
    assert schemas == []


async def test_a_rebuild_on_another_log_forgets_all_of_the_old_one(pool: Pool) -> None:
    old, log = ListLog(), ListLog()
    old.write(recorded(success()))
    log.write(recorded(Scenario().started(), "elsewhere"))
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    await lane.take(old.records[EVENTS])
    for projection in HISTORY_READERS:
        assert not (await rebuild(pool, log, projection)).comparable
    start, namesake = len(log.records[EVENTS]), recorded(failure())
    log.write(namesake)
    await Lane(pool, EVENTS, start, HISTORY_READERS).take(log.records[EVENTS])
    rows = await pool.fetch("SELECT run_id, count(*) FROM timeline_v1 GROUP BY run_id ORDER BY run_id")
    assert [tuple(row) for row in rows] == [("elsewhere", start), ("run-1", len(namesake))]
    async with pool.acquire() as connection:
        assert (await read_run(connection, "run-1")).run.sequence == len(namesake) - 1


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda p: p.name)
async def test_every_projection_can_be_rebuilt_by_itself(pool: Pool, projection: Any) -> None:
    log = ListLog()
    log.write(random_history(3))
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    rebuilt = await rebuild(pool, log, projection)
    assert (rebuilt.comparable, rebuilt.differs) == (True, False)


async def test_tables_of_versions_that_nobody_reads_any_more_are_dropped(pool: Pool) -> None:
    await pool.execute("CREATE TABLE runs_v0 (run_id text)")
    await pool.execute(
        "INSERT INTO projection_checkpoints (projection, version, topic, partition, next_offset) "
        "VALUES ('runs', 0, 'autopack.events', 0, 7)"
    )
    async with pool.acquire() as connection:
        old = [s for s in (await read_status(connection, ListLog())).projections if s.version == 0]
    assert [s.standing for s in old] == [Standing.OUTDATED]
    assert await prune(pool) == ["runs_v0"]
    assert await pool.fetchval("SELECT to_regclass('runs_v0')") is None
    assert await prune(pool) == []
    assert await pool.fetchval("SELECT to_regclass('runs_v2')") is not None
