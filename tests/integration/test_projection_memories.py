"""What a lane remembers of earlier rows: it spares reading them back, and never outlives what it is true of."""

from collections.abc import AsyncIterator, Iterable
from itertools import zip_longest
from typing import Any

import pytest

from events.catalogue import event_name
from projections import memories
from projections.checkpoints import Overtaken
from projections.database import Pool
from projections.lane import Lane
from projections.memories import Memories
from projections.projection import Key, Projection
from projections.rebuild import rebuild
from projections.runs import RUNS
from support.histories import ListLog, failure, random_history, recorded, success
from support.tables import EVENTS, HISTORY_READERS, all_rows, start_at_zero, tables_at_zero


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


@pytest.fixture
def log() -> ListLog:
    log = ListLog()
    log.write(recorded(success()))
    return log


@pytest.fixture
def read_back(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables that are asked for earlier rows, and `heads`, each time anew."""
    asked: list[str] = []
    recall, known_heads = memories.recall, memories.known_heads

    async def recalling(connection: Any, projection: Projection[Any], keys: Iterable[Key]) -> Any:
        wanted = list(keys)
        if wanted:
            asked.append(projection.table)
        return await recall(connection, projection, wanted)

    async def asking(connection: Any, reader: Any, keys: Any) -> Any:
        asked.append("heads")
        return await known_heads(connection, reader, keys)

    monkeypatch.setattr(memories, "recall", recalling)
    monkeypatch.setattr(memories, "known_heads", asking)
    return asked


async def test_a_run_that_a_lane_saw_begin_is_never_read_back(
    pool: Pool, log: ListLog, read_back: list[str]
) -> None:
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    for record in log.records[EVENTS]:
        await lane.take([record])
    assert read_back == ["heads", "answers_v2"]  # an answer is remembered by nobody: two events decide a run


async def test_a_lane_that_begins_in_the_midst_reads_back_once_what_there_is(
    pool: Pool, log: ListLog, read_back: list[str]
) -> None:
    records = log.records[EVENTS]
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(records[:20])
    read_back.clear()
    lane = Lane(pool, EVENTS, 20, HISTORY_READERS)
    for record in records[20:]:
        await lane.take([record])
    assert read_back.count("heads") == read_back.count("runs_v2") == read_back.count("phases_v1") == 1
    stepwise = await all_rows(pool)
    await start_at_zero(pool)
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(records)
    assert stepwise == await all_rows(pool)


async def test_what_an_event_leaves_as_it_was_is_not_written_again(pool: Pool, log: ListLog) -> None:
    records = log.records[EVENTS]
    types = [event_name(record.type_name or "") for record in records]
    accepted, built = types.index("RunAccepted"), types.index("BuildSucceeded")
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    await lane.take(records[: accepted + 1])
    await pool.execute("""UPDATE runs_v2 SET request = '"of the test"'""")
    await pool.execute("""UPDATE phases_v1 SET description = 'of the test'""")
    for record in records[accepted + 1 : built]:
        await lane.take([record])
    first = await pool.fetchrow("SELECT begun, description FROM phases_v1 ORDER BY position LIMIT 1")
    assert first == (True, "of the test")
    await lane.take(records[built:-1])
    first = await pool.fetchrow("SELECT ended, description FROM phases_v1 ORDER BY position LIMIT 1")
    assert first == (True, None)  # what was built is among what seldom changes, and all of the row is written
    run = await pool.fetchrow("SELECT request, sequence FROM runs_v2")
    assert run == ("of the test", len(records) - 2)


@pytest.mark.parametrize("size", [2, 3, 7, 30])
async def test_rows_that_are_written_whole_and_in_part_come_to_the_same(pool: Pool, size: int) -> None:
    log = ListLog()
    histories = [random_history(3), recorded(failure(), "other"), recorded(success(), "late")]
    log.write([r for turn in zip_longest(*histories) for r in turn if r is not None])
    records = log.records[EVENTS]
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    for start in range(0, len(records), size):
        await lane.take(records[start : start + size])
    by_lots = await all_rows(pool)
    await start_at_zero(pool)
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(records)
    assert by_lots == await all_rows(pool)


@pytest.mark.parametrize("most_rows", [0, 1, 7])
async def test_what_was_let_go_of_is_read_back(pool: Pool, most_rows: int) -> None:
    log = ListLog()
    pairs = zip_longest(random_history(3), recorded(failure(), "other"))
    log.write([record for pair in pairs for record in pair if record is not None])
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    lane._memories = Memories(most_rows, look_every=1)
    for record in log.records[EVENTS]:
        await lane.take([record])
    held = [len(groups) for groups in lane._memories._groups.values()]
    remembering_little = await all_rows(pool)
    await start_at_zero(pool)
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    assert remembering_little == await all_rows(pool)
    assert max(held) <= max(1, most_rows)


async def test_a_lane_does_not_write_what_it_remembers_over_rows_that_were_rebuilt(
    pool: Pool, log: ListLog
) -> None:
    records = log.records[EVENTS]
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS, generations={"runs": 0})
    await lane.take(records[:20])
    await rebuild(pool, log, RUNS)  # type: ignore[arg-type]
    rebuilt = await all_rows(pool)
    with pytest.raises(Overtaken):
        await lane.take(records[20:])
    assert await all_rows(pool) == rebuilt


async def test_a_fold_that_was_not_written_is_not_remembered(pool: Pool, log: ListLog) -> None:
    records = log.records[EVENTS]
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    await lane.take(records[:20])
    await pool.execute("UPDATE projection_checkpoints SET next_offset = 19 WHERE projection = 'tiers'")
    with pytest.raises(Overtaken):
        await lane.take(records[20:])
    await pool.execute("UPDATE projection_checkpoints SET next_offset = 20 WHERE projection = 'tiers'")
    await lane.take(records[20:])
    live = await all_rows(pool)
    await start_at_zero(pool)
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(records)
    assert live == await all_rows(pool)
