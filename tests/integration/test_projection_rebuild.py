"""What the tables hold follows from the records alone."""

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from support.histories import ListLog, folded, random_history, recorded, success

from events.catalogue import Topic
from events.log.port import Place, StoredRecord
from events.state import Project, Run
from projections.catalogue import PROJECTIONS
from projections.checkpoints import begin
from projections.database import Pool, install, open_pool
from projections.lane import Lane

HISTORY_READERS = [p for p in PROJECTIONS if Topic.EVENTS in p.topics]
REFUSAL_READERS = [p for p in PROJECTIONS if Topic.REJECTIONS in p.topics]
EVENTS = Place(Topic.EVENTS, 0)
REJECTIONS = Place(Topic.REJECTIONS, 0)


async def fresh(pool: Pool) -> None:
    """Empty tables, and every projection at 0."""
    async with pool.acquire() as connection:
        for table in [*(p.table for p in PROJECTIONS), "projection_checkpoints", "projection_heads"]:
            await connection.execute(f"DROP TABLE IF EXISTS {table}")
        await install(connection, PROJECTIONS)
        await begin(connection, HISTORY_READERS, EVENTS)
        await begin(connection, REFUSAL_READERS, REJECTIONS)


async def tables(pool: Pool) -> dict[str, list[Any]]:
    """Every row of every table, as text, in one order."""
    async with pool.acquire() as connection:
        return {
            p.table: [r[0] for r in await connection.fetch(f"SELECT t::text FROM {p.table} t ORDER BY 1")]
            for p in PROJECTIONS
        }


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
async def pool(database_url: str):
    pool = await open_pool(database_url)
    await fresh(pool)
    yield pool
    await pool.close()


@pytest.mark.parametrize("seed", range(8))
async def test_a_rebuild_gives_the_tables_that_odd_and_repeated_batches_gave(pool: Pool, seed: int) -> None:
    records = story(seed)
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    for batch in cut(records, random.Random(seed)):
        await lane.take(batch)
    assert lane.projections == HISTORY_READERS
    live = await tables(pool)
    await fresh(pool)
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(records)
    rebuilt = await tables(pool)
    assert live == rebuilt
    assert len(rebuilt["timeline_v1"]) == len(records)


async def test_records_that_stand_twice_in_the_log_are_folded_once(pool: Pool) -> None:
    log, history = ListLog(), recorded(success())
    log.write([*history[:9], *history[3:9], *history[9:], *history[-4:]])
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    doubled = await tables(pool)
    await fresh(pool)
    plain = ListLog()
    plain.write(history)
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(plain.records[EVENTS])
    once = await tables(pool)
    assert len(doubled["timeline_v1"]) == len(once["timeline_v1"]) == len(history)
    assert doubled["metrics_v1"] == once["metrics_v1"]
    assert doubled["phases_v1"] == once["phases_v1"]


async def shown(pool: Pool, project: str) -> dict[str, Any]:
    """What the tables say of runs, phases and tiers."""
    async with pool.acquire() as connection:
        found: dict[str, Any] = {}
        for run in await connection.fetch("SELECT * FROM runs_v1 WHERE project = $1", project):
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
