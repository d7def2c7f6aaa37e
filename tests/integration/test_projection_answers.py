"""What became of a submitted record: who is told, when, and which refusals are kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from asyncpg import InvalidCatalogNameError
from msgspec.structs import replace

from events.catalogue import Topic
from events.decide.verdicts import Reason, Rejection
from events.history import PartitionState, chain
from events.log.port import NewRecord, StoredRecord
from projections.answers import ANSWERS, Outcome, command_key
from projections.database import CHANNEL, Connection, Pool, lent
from projections.lane import Lane
from projections.projector import Projector
from projections.queries.answers import find_answers, runs_under
from projections.queries.awaiting import Answers
from projections.queries.changes import Changes
from projections.rebuild import expire_rejections, rebuild
from projections.runs import RUNS
from services.embedded.postgres import EmbeddedPostgres
from services.supervisor.judging import rejection_record
from support.histories import ListLog, failure, recorded, success
from support.projecting import Heard, is_alarmed, passed, running, until, view
from support.scenario import START
from support.standing_still import standing_still
from support.tables import EVENTS, HISTORY_READERS, REFUSAL_READERS, REJECTIONS, tables_at_zero


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


def refused(log: ListLog, story: Any, number: int, run_id: str = "run-1") -> StoredRecord:
    """A submitted record that is refused, as the supervisor writes it down."""
    event = replace(story.history[number], source=f"{story.history[number].source}/{run_id}")
    submitted = StoredRecord(Topic.COMMANDS, 0, 77, "shop", b'{"raw":"\xff"}', {"type": b"x"}, START)
    rejection = rejection_record(submitted, Rejection(Reason.DUPLICATE_RUN_ID, "taken"), "shop", event)
    return log.append(Topic.REJECTIONS, rejection)


async def answer(pool: Pool, event_id: str, run_id: str = "run-1") -> Any:
    async with pool.acquire() as connection:
        asked = (command_key("shop", f"/test/{run_id}", event_id), run_id)
        return (await find_answers(connection, [asked])).get(asked)


async def test_a_request_is_undecided_until_its_run_is_accepted_or_has_failed(pool: Pool) -> None:
    log, history = ListLog(), recorded(success())
    log.write(history)
    records = log.records[EVENTS]
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    await lane.take(records[:2])
    assert (await answer(pool, "e1")).outcome == Outcome.UNDECIDED
    accepted = next(i for i, r in enumerate(history) if r.type_name == "autopack.RunAccepted.v1")
    await lane.take(records[: accepted + 1])
    found = await answer(pool, "e1")
    assert (found.outcome, found.log_offset, found.decided_offset) == (Outcome.ACCEPTED, 0, accepted)
    await lane.take(records)
    assert await answer(pool, "e1") == found
    assert (await answer(pool, "e2")).outcome == Outcome.ACCEPTED
    assert await answer(pool, "never") is None


async def test_an_admission_has_precedence_over_a_refusal_of_the_same_record(pool: Pool) -> None:
    log, story = ListLog(), success()
    log.write(recorded(story)[:1])
    refused(log, story, 0)
    refusals = Lane(pool, REJECTIONS, 0, REFUSAL_READERS)
    await refusals.take(log.records[REJECTIONS])
    first = await answer(pool, "e1")
    assert (first.outcome, first.detail) == (Outcome.REJECTED, "duplicate_run_id: taken")
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    assert (await answer(pool, "e1")).outcome == Outcome.UNDECIDED


async def test_a_refused_record_is_kept_with_its_bytes_and_the_reason(pool: Pool) -> None:
    log, story = ListLog(), success()
    refused(log, story, 0)
    log.append(Topic.REJECTIONS, NewRecord("", b"\x00\xff", {"reason": b"unreadable", "source_offset": b"many"}))
    lane = Lane(pool, REJECTIONS, 0, REFUSAL_READERS)
    await lane.take(log.records[REJECTIONS])
    assert lane.projections == REFUSAL_READERS
    rows = await pool.fetch("SELECT * FROM rejections_v1 ORDER BY log_offset")
    assert (rows[0]["reason"], rows[0]["raw"], rows[0]["source_topic"]) == (
        "duplicate_run_id",
        b'{"raw":"\xff"}',
        "autopack.commands",
    )
    assert (rows[0]["source_partition"], rows[0]["source_offset"], rows[0]["run_id"]) == (0, 77, "run-1")
    assert (rows[1]["raw"], rows[1]["source_offset"], rows[1]["event_id"]) == (b"\x00\xff", None, None)


async def test_whoever_waits_for_an_answer_gets_it_when_all_named_tables_show_it(pool: Pool) -> None:
    log, history, changes = ListLog(), recorded(success()), Changes(pool)
    answers = Answers(pool, changes)
    listening = asyncio.create_task(changes.listen(Heard()))
    try:
        async with running(Projector(pool, log, Heard())):
            log.write(history[:2])
            await until(lambda: passed(pool, "answers", 2))
            assert await answers.wait("shop", "run-1", "/test/run-1", "e1", limit_seconds=0.05) is None
            waiting = asyncio.create_task(answers.wait("shop", "run-1", "/test/run-1", "e1", limit_seconds=10))
            log.write(history[2:])
            found = await waiting
            assert found is not None
            assert found.outcome == Outcome.ACCEPTED
            assert (await view(pool)).run.accepted_at is not None
    finally:
        listening.cancel()


async def test_an_answer_waits_for_a_table_that_stands_still(pool: Pool) -> None:
    log = ListLog()
    log.write(recorded(success()))
    answers = Answers(pool, Changes(pool))
    others = [p for p in HISTORY_READERS if p is not RUNS]
    await Lane(pool, EVENTS, 0, others).take(log.records[EVENTS])
    asked = ("shop", "run-1", "/test/run-1", "e1")
    assert await answers.wait(*asked, limit_seconds=0.05) is None
    assert await answers.wait(*asked, projections=["tiers", "rejections"], limit_seconds=60) is not None


async def test_a_look_is_shared_by_all_who_wait(pool: Pool) -> None:
    log, answers = ListLog(), Answers(pool, Changes(pool))
    log.write(recorded(success()))
    asked = [("shop", "run-1", "/test/run-1", event_id) for event_id in ("e1", *map(str, range(60)))]
    statements: list[str] = []
    await count(pool, statements)
    began = monotonic()
    limits = [60.0] + [2.5] * (len(asked) - 1)
    waiting = [
        asyncio.create_task(answers.wait(*one, limit_seconds=limit))
        for one, limit in zip(asked, limits, strict=True)
    ]
    await asyncio.sleep(0.2)
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    found = await asyncio.gather(*waiting)
    assert [one.event_id for one in found if one is not None] == ["e1"]
    seconds = monotonic() - began
    assert 2 <= len(statements) <= 5 + seconds, "when they come, each second, and once for the offsets"


async def test_whoever_begins_to_wait_while_others_do_is_answered_at_once(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.queries.awaiting.POLL_SECONDS", 60.0)
    log, answers = ListLog(), Answers(pool, Changes(pool))
    log.write(recorded(success()))
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    other = asyncio.create_task(answers.wait("shop", "run-1", "/test/run-1", "never", limit_seconds=60))
    await asyncio.sleep(0.3)
    assert await answers.wait("shop", "run-1", "/test/run-1", "e1", limit_seconds=30) is not None
    other.cancel()
    await asyncio.wait({other})
    assert looking() == []


async def test_a_look_that_fails_is_told_to_all_who_wait_and_the_next_begins_anew(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Answers(pool, Changes(pool))
    monkeypatch.setattr("projections.queries.awaiting.lent", lent_by_nobody_for)
    asked = [answers.wait("shop", "run-1", "/test", f"e{n}", limit_seconds=5) for n in range(3)]
    errors = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(error) for error in errors] == [InvalidCatalogNameError] * 3
    monkeypatch.setattr("projections.queries.awaiting.lent", lent)
    assert await answers.wait("shop", "run-1", "/test", "e1", limit_seconds=0.2) is None


async def test_a_look_that_hangs_is_cut_and_the_next_one_finds_the_answer(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, answers = ListLog(), Answers(pool, Changes(pool))
    log.write(recorded(success()))
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    async with pool.acquire() as connection:
        holding = connection.transaction()
        await holding.start()
        await connection.execute(f"LOCK TABLE {ANSWERS.table}")
        with monkeypatch.context() as patched:
            patched.setattr("projections.queries.awaiting.LOOK_SECONDS", 0.3)
            waiting = asyncio.create_task(answers.wait("shop", "run-1", "/test/run-1", "e1", limit_seconds=60))
            await asyncio.sleep(0.8)
        assert not waiting.done()
        await holding.rollback()
    assert await waiting is not None
    await asyncio.sleep(0)
    assert looking() == []


async def test_a_look_ends_with_the_last_who_waits_also_where_both_are_overdue_at_once(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.queries.awaiting.LOOK_SECONDS", 0.3)
    answers = Answers(pool, Changes(pool))
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {ANSWERS.table}")
        for _ in range(5):
            assert await answers.wait("shop", "run-1", "/test", "never", limit_seconds=0.3) is None
    async with asyncio.timeout(5):
        while looking():
            await asyncio.sleep(0.01)


def looking() -> list[str]:
    """The tasks that look for answers."""
    return [repr(task) for task in asyncio.all_tasks() if "_look_for_all" in repr(task.get_coro())]


async def count(pool: Pool, statements: list[str]) -> None:
    """Note each look into the answers or the offsets of their readers, on whatever connection."""

    def noted(query: Any) -> None:
        if "AS asked" in query.query:
            statements.append(query.query)

    borrowed = [await pool.acquire() for _ in range(pool.get_max_size())]
    for connection in borrowed:
        connection.add_query_logger(noted)
        await pool.release(connection)


async def test_waiting_ends_in_time_whatever_the_server_does(tmp_path: Path) -> None:
    """It stops between two looks, so that the next one gets no answer, nor does asking it to be given up."""
    async with EmbeddedPostgres(tmp_path / "home") as server, tables_at_zero(server.url) as pool:
        changes = Changes(pool)
        answers = Answers(pool, changes)
        listening = asyncio.create_task(changes.listen(Heard()))
        await answers.wait("shop", "run-1", "/test", "never", limit_seconds=0.1)
        waiting = asyncio.create_task(answers.wait("shop", "run-1", "/test", "never", limit_seconds=2.5))
        with standing_still(tmp_path / "home"):
            listening.cancel()
            done, _ = await asyncio.wait({waiting, listening}, timeout=30)
        assert done == {waiting, listening}, "though the server still stands"
        assert await waiting is None
        assert await answers.wait("shop", "run-1", "/test", "never", limit_seconds=0.5) is None


async def test_listening_that_fails_is_an_alarm_and_goes_on(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, changes = Heard(), Changes(pool)
    monkeypatch.setattr("projections.queries.changes.POLL_SECONDS", 0.02)
    monkeypatch.setattr("projections.queries.changes.lent", lent_by_nobody)
    listening = asyncio.create_task(changes.listen(heard))
    try:
        await until(lambda: is_alarmed(heard, "notices"))
        assert not listening.done()
        monkeypatch.setattr("projections.queries.changes.lent", lent)
        await until(lambda: is_calm(heard))
        change = changes.next()
        await pool.execute("SELECT pg_notify($1, 'here')", CHANNEL)
        async with asyncio.timeout(10):
            await change.wait()
    finally:
        listening.cancel()


def lent_by_nobody(pool: Pool) -> AbstractAsyncContextManager[Connection]:
    raise InvalidCatalogNameError("the database does not exist")


def lent_by_nobody_for(pool: Pool, limit_seconds: float) -> AbstractAsyncContextManager[Connection]:
    return lent_by_nobody(pool)


async def is_calm(heard: Heard) -> bool:
    return not heard.alarms


async def test_refusals_that_the_log_has_let_go_are_forgotten(pool: Pool) -> None:
    log, story = ListLog(), success()
    for number in range(3):
        refused(log, story, number)
    await Lane(pool, REJECTIONS, 0, REFUSAL_READERS).take(log.records[REJECTIONS])
    del log.records[REJECTIONS][:2]
    async with running(Projector(pool, log, Heard())):
        await until(lambda: only_one_refusal(pool))
    assert await pool.fetchval(f"SELECT count(*) FROM {ANSWERS.table}") == 1


async def test_what_is_left_of_refusals_when_some_expire_is_what_a_rebuild_gives(pool: Pool) -> None:
    log, story = ListLog(), success()
    for number in (0, 1, 0):  # The third is the first again: redriven, and refused again.
        refused(log, story, number)
    await Lane(pool, REJECTIONS, 0, REFUSAL_READERS).take(log.records[REJECTIONS])
    first = await answer(pool, "e1")
    del log.records[REJECTIONS][:1]
    await expire_rejections(pool, log)
    rebuilt = await rebuild(pool, log, ANSWERS)
    assert (rebuilt.comparable, rebuilt.only_served, rebuilt.only_fresh) == (True, 0, 0)
    left = await answer(pool, "e1")
    assert (first.log_offset, left.log_offset) == (0, 2)


async def test_an_id_that_is_used_again_for_another_run_has_an_answer_for_each(pool: Pool) -> None:
    log = ListLog()
    log.write(recorded(success())[:1])
    again = [replace(event, run_id="run-2", source=f"{event.source}/run-1") for event in failure().history]
    log.write(chain(PartitionState().heads, "shop", again)[0])
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    async with pool.acquire() as connection:
        key = command_key("shop", "/test/run-1", "e1")
        found = await find_answers(connection, [(key, "run-1"), (key, "run-2"), (key, "run-3")])
        used = await runs_under(connection, "shop", "/test/run-1", "e1")
    outcomes = {run: answer.outcome for (_, run), answer in found.items()}
    assert outcomes == {"run-1": Outcome.UNDECIDED, "run-2": Outcome.ACCEPTED}
    assert used == ["run-1", "run-2"]


async def only_one_refusal(pool: Pool) -> bool:
    return bool(await pool.fetchval("SELECT count(*) = 1 FROM rejections_v1"))
