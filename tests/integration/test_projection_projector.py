"""The projector: what it shows, and how, when something is amiss."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from events.catalogue import Topic
from events.decide.verdicts import Reason, Rejection
from events.families.tier import TierStarted
from events.history import HistoryRecord
from events.log.partitions import home_partition
from events.log.port import NewRecord, Step, StoredRecord
from events.log.postgres.log import PostgresLog
from projections.answers import Outcome
from projections.database import Pool, open_pool
from projections.lane import Lane, fold_into
from projections.phases import PHASES
from projections.projection import Entry, Projection
from projections.projector import Projector
from projections.queries.answers import Changes, find_answer
from projections.queries.runs import RunView, read_run
from projections.rebuild import rebuild
from projections.runs import RUNS
from projections.status import Standing, Status, read_status
from projections.tiers import TIERS
from projections.timeline import TIMELINE
from services.supervisor.judging import rejection_record
from support.histories import ListLog, failure, random_history, recorded, success
from support.scenario import START, plan
from support.tables import (
    EVENTS,
    HISTORY_READERS,
    REFUSAL_READERS,
    REJECTIONS,
    all_rows,
    start_at_zero,
    tables_at_zero,
)


@dataclass
class Heard:
    """What the projector says of itself."""

    is_ready: bool = False
    troubles: list[str] = field(default_factory=list)
    alarms: dict[str, str] = field(default_factory=dict)

    def ready(self) -> None:
        self.is_ready = True

    def unavailable(self, trouble: str) -> None:
        self.is_ready = False
        self.troubles.append(trouble)

    def alarm(self, key: str, message: str) -> None:
        self.alarms[key] = message

    def clear(self, key: str) -> None:
        self.alarms.pop(key, None)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


@asynccontextmanager
async def running(projector: Projector) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(projector.run(stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


async def until(condition: Callable[[], Awaitable[bool]], limit_seconds: float = 15) -> None:
    async with asyncio.timeout(limit_seconds):
        while not await condition():
            await asyncio.sleep(0.01)


async def status(pool: Pool, log: Any) -> Status:
    async with pool.acquire() as connection:
        return await read_status(connection, log)


async def view(pool: Pool, run_id: str = "run-1") -> RunView:
    async with pool.acquire() as connection:
        return await read_run(connection, run_id)


def new(records: Sequence[HistoryRecord]) -> list[NewRecord]:
    return [NewRecord(r.project, r.value, {"type": r.type_name.encode()}) for r in records]


def at(standings: Status, name: str, topic: Topic = Topic.EVENTS) -> Any:
    return next(s for s in standings.projections if (s.projection, s.topic) == (name, topic))


def sabotaged(projection: Projection[Any], at_type: type) -> Projection[Any]:
    """The projection, unable to fold one type of event."""

    def project(rows: Any, entry: Entry) -> Any:
        if isinstance(entry.data, at_type):
            raise RuntimeError("cannot fold this")
        return projection.project(rows, entry)

    return replace(projection, project=project)


def with_one(one: Projection[Any]) -> list[Projection[Any]]:
    return [one if p.name == one.name else p for p in HISTORY_READERS]


# ---- following


async def test_what_is_written_to_the_postgres_log_shows_soon(database_url: str) -> None:
    pool, log, heard = await open_pool(database_url), await PostgresLog.open(database_url, 2), Heard()
    try:
        history = recorded(success())
        async with running(Projector(pool, log, heard)):
            writer = await log.take_over(home_partition("shop", 2), "supervisor-1")
            for start in range(0, len(history), 7):
                await writer.append(Step(events=new(history[start : start + 7])))
            await until(lambda: ended(pool))
            await until(lambda: caught_up(pool, log))
            seen = await view(pool)
            await writer.close()
        assert (seen.run.state, seen.run.head_commit) == ("DONE_SUCCESS", f"{3:040x}")
        assert [(p.phase_id, p.state, p.builder_attempts) for p in seen.phases] == [
            ("P1", "COMPLETE", 3),
            ("P2", "COMPLETE", 1),
        ]
        assert heard.alarms == {}
    finally:
        await log.close()
        await pool.close()


async def ended(pool: Pool) -> bool:
    found = await pool.fetchval("SELECT to_regclass('runs_v1') IS NOT NULL")
    return bool(found and await pool.fetchval("SELECT count(*) FROM runs_v1 WHERE state = 'DONE_SUCCESS'"))


async def test_a_projector_whose_connections_are_cut_goes_on_where_it_was(pool: Pool, database_url: str) -> None:
    log, heard, history = ListLog(), Heard(), recorded(success())
    other = await open_pool(database_url)
    async with running(Projector(pool, log, heard)):
        log.write(history[:10])
        await until(lambda: passed(other, "timeline", 10))
        async with other.acquire() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        log.write(history[10:])
        await until(lambda: passed(other, "timeline", len(history)))
        await until(lambda: is_ready(heard))
        assert await other.fetchval("SELECT count(*) FROM timeline_v1") == len(history)
    await other.close()


async def test_a_log_that_is_away_is_waited_for(pool: Pool) -> None:
    log, heard, history = ListLog(), Heard(), recorded(success())
    log.away = True
    async with running(Projector(pool, log, heard)):
        log.write(history)
        await until(lambda: is_troubled(heard))
        log.away = False
        await until(lambda: passed(pool, "runs", len(history)))
        await until(lambda: is_ready(heard))
    assert (await view(pool)).run.state == "DONE_SUCCESS"


async def test_two_projectors_that_believe_a_partition_theirs_fold_each_event_once(pool: Pool) -> None:
    log, history = ListLog(), recorded(success())
    async with running(Projector(pool, log, Heard())), running(Projector(pool, log, Heard())):
        for record in history:
            log.write([record])
            await asyncio.sleep(0)
        await until(lambda: caught_up(pool, log))
    both = await all_rows(pool)
    await start_at_zero(pool)
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    assert await all_rows(pool) == both


async def test_a_projection_that_was_emptied_catches_up_by_itself(pool: Pool) -> None:
    log = ListLog()
    log.write(random_history(5))
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    whole = await all_rows(pool)
    await pool.execute("DELETE FROM tiers_v1")
    await pool.execute("DELETE FROM projection_checkpoints WHERE projection = 'tiers'")
    await pool.execute("DELETE FROM projection_heads WHERE projection = 'tiers'")
    async with running(Projector(pool, log, Heard())):
        await until(lambda: caught_up(pool, log))
        assert await all_rows(pool) == whole
        log.write(recorded(success(), "later"))
        await until(lambda: caught_up(pool, log))
        assert [tier.state for tier in (await view(pool, "later")).tiers] == ["COMPLETE", "COMPLETE"]


# ---- what stops, and what goes on


async def test_a_projection_that_raises_stops_at_that_event_and_the_others_go_on(pool: Pool) -> None:
    log, alarms, history = ListLog(), {}, recorded(success())
    log.write(history)
    stops_at = next(i for i, r in enumerate(history) if r.type_name == TierStarted.type_name())
    lane = Lane(pool, EVENTS, 0, with_one(sabotaged(TIERS, TierStarted)), alarms.__setitem__)
    await lane.take(log.records[EVENTS])
    now = await status(pool, log)
    tiers = at(now, "tiers")
    assert (tiers.standing, tiers.next_offset, tiers.error) == (
        Standing.STOPPED,
        stops_at,
        "RuntimeError: cannot fold this",
    )
    assert "tiers stands still" in (now.trouble or "")
    assert list(alarms) == ["tiers_v1 autopack.events/0"]
    assert {s.standing for s in now.projections if s.projection not in ("tiers", "run_files")} == {
        Standing.FOLLOWING
    }
    assert (await view(pool)).run.state == "DONE_SUCCESS"


async def test_a_stopped_projection_is_followed_again_once_it_is_rebuilt(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.projector.LOOK_AGAIN_SECONDS", 0.2)
    log, broken = ListLog(), with_one(sabotaged(TIERS, TierStarted))
    log.write(recorded(success()))
    async with running(Projector(pool, log, Heard(), projections=[*broken, *REFUSAL_READERS[-1:]])):
        await until(lambda: stopped(pool, log, "tiers"))
        await rebuild(pool, log, TIERS)
        log.write(random_history(1)[:1])
        await until(lambda: passed(pool, "tiers", len(log.records[EVENTS])))


async def stopped(pool: Pool, log: Any, name: str) -> bool:
    found = [s for s in (await status(pool, log)).projections if s.projection == name]
    return any(s.standing is Standing.STOPPED for s in found)


async def test_a_record_that_cannot_be_read_stops_those_who_want_it_and_no_others(pool: Pool) -> None:
    log, history = ListLog(), recorded(success())
    place = next(i for i, r in enumerate(history) if r.type_name == TierStarted.type_name())
    log.write(history)
    good = log.records[EVENTS][place]
    log.records[EVENTS][place] = replace(good, value=good.value.replace(b'"tier_index"', b'"tier_number"'))
    lane = Lane(pool, EVENTS, 0, [PHASES, TIERS, TIMELINE])
    await lane.take(log.records[EVENTS][: place + 1])
    assert lane.projections == [PHASES]
    now = await status(pool, log)
    assert (at(now, "tiers").standing, at(now, "tiers").next_offset) == (Standing.STOPPED, place)
    assert (at(now, "timeline").standing, at(now, "timeline").next_offset) == (Standing.STOPPED, place)
    assert "unreadable: data.tier_" in at(now, "tiers").error
    assert at(now, "phases").next_offset == place + 1


@pytest.mark.parametrize("unknown", [b"autopack.BuildSucceeded.v9", b"autopack.PhasePaused.v1"])
async def test_an_event_of_a_newer_version_stops_every_projection(pool: Pool, unknown: bytes) -> None:
    log, history = ListLog(), recorded(success())
    log.write(history[:12])
    newer = log.records[EVENTS][10]
    log.records[EVENTS][10] = replace(newer, headers={"type": unknown})
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    await lane.take(log.records[EVENTS])
    assert lane.projections == []
    standings = [s for s in (await status(pool, log)).projections if s.topic is Topic.EVENTS]
    assert {(s.standing, s.next_offset) for s in standings if s.projection != "run_files"} == {
        (Standing.STOPPED, 10)
    }


async def test_junk_in_the_history_stops_every_projection_before_it(pool: Pool) -> None:
    log = ListLog()
    log.write(recorded(success())[:5])
    log.append(Topic.EVENTS, NewRecord("shop", b"\xff{junk", {"type": b"autopack.TierStarted.v1"}))
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    await lane.take(log.records[EVENTS])
    assert lane.projections == []
    assert len((await all_rows(pool))["timeline_v1"]) == 5


async def test_a_fork_puts_its_run_into_quarantine_and_the_others_go_on(pool: Pool) -> None:
    log, alarms = ListLog(), {}
    honest, forged = recorded(success(), "forged"), recorded(failure(), "forged")
    log.write([*honest[:10], *forged[10:14], *recorded(success(), "other"), *honest[10:]])
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS, alarms.__setitem__)
    await lane.take(log.records[EVENTS])
    assert lane.projections == HISTORY_READERS
    assert list(alarms) == ["run shop/forged"]
    assert list((await status(pool, log)).quarantined) == [("shop", "forged")]
    assert (await view(pool, "other")).run.state == "DONE_SUCCESS"
    assert (await view(pool, "forged")).run.sequence == 9


async def test_rows_that_the_database_refuses_stop_their_projection_at_the_very_event(pool: Pool) -> None:
    def project(rows: Any, entry: Entry) -> Any:
        made = TIMELINE.project(rows, entry)
        return [replace(row, sequence=2**40 if row.sequence == 23 else row.sequence) for row in made]

    log = ListLog()
    log.write(recorded(success()))
    lane = Lane(pool, EVENTS, 0, with_one(replace(TIMELINE, project=project)))
    await lane.take(log.records[EVENTS])
    now = await status(pool, log)
    assert (at(now, "timeline").standing, at(now, "timeline").next_offset) == (Standing.STOPPED, 23)
    assert len((await all_rows(pool))["timeline_v1"]) == 23
    assert (await view(pool)).run.state == "DONE_SUCCESS"


async def test_text_that_postgres_cannot_keep_is_kept_as_well_as_it_can_be(pool: Pool) -> None:
    story = success()
    story.history[0] = replace(
        story.history[0],
        source="/te\x00st",
        data=plan([{"phase_id": "P1", "tier_id": "T1", "description": "a\x00b\\u0000c"}]),
    )
    log = ListLog()
    log.write(recorded(story)[:1])
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    await lane.take(log.records[EVENTS])
    assert lane.projections == HISTORY_READERS
    found = await pool.fetchrow("SELECT description, source FROM phases_v1 JOIN runs_v1 USING (project, run_id)")
    assert tuple(found) == ("a\ufffdb\\u0000c", "/te\ufffdst/run-1")


async def test_a_checkpoint_beyond_the_end_of_the_log_is_an_alarm_never_a_reset(pool: Pool) -> None:
    log, heard = ListLog(), Heard()
    log.write(recorded(success()))
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    another = ListLog()
    another.write(recorded(failure())[:3])
    before = await all_rows(pool)
    async with running(Projector(pool, another, heard)):
        await until(lambda: is_alarmed(heard, "runs_v1 autopack.events/0"))
    assert await all_rows(pool) == before
    assert at(await status(pool, another), "runs").standing is Standing.AHEAD


async def is_alarmed(heard: Heard, key: str) -> bool:
    return key in heard.alarms


async def test_a_flood_of_large_junk_is_taken_in_lots(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    async def counting(connection: Any, place: Any, projections: Any, records: Any, start: int, end: int) -> Any:
        taken.append(sum(len(record.value) for record in records))
        return await fold_into(connection, place, projections, records, start, end)

    monkeypatch.setattr("projections.lane.fold_into", counting)
    monkeypatch.setattr("projections.lane.BYTES_AT_ONCE", 5_000)
    log = ListLog()
    for size_bytes in (10, 4_000, 4_000, 9_000, 10, 10):
        log.append(Topic.REJECTIONS, NewRecord("shop", b"x" * size_bytes, {"reason": b"unreadable"}))
    lane = Lane(pool, REJECTIONS, 0, REFUSAL_READERS)
    await lane.take(log.records[REJECTIONS])
    assert taken == [4_010, 4_000, 9_000, 20]
    assert lane.offset == 6
    assert await pool.fetchval("SELECT sum(size_bytes) FROM rejections_v1") == 17_030


# ---- answers and rejections


def refused(log: ListLog, story: Any, number: int, run_id: str = "run-1") -> StoredRecord:
    """A submitted record that is refused, as the supervisor writes it down."""
    event = replace(story.history[number], source=f"{story.history[number].source}/{run_id}")
    submitted = StoredRecord(Topic.COMMANDS, 0, 77, "shop", b'{"raw":"\xff"}', {"type": b"x"}, START)
    rejection = rejection_record(submitted, Rejection(Reason.DUPLICATE_RUN_ID, "taken"), "shop", event)
    return log.append(Topic.REJECTIONS, rejection)


async def answer(pool: Pool, event_id: str, run_id: str = "run-1") -> Any:
    async with pool.acquire() as connection:
        return await find_answer(connection, "shop", f"/test/{run_id}", event_id)


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
    assert (found.outcome, found.log_offset, found.run_id) == (Outcome.ACCEPTED, accepted, "run-1")
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
    listening = asyncio.create_task(changes.listen())
    try:
        async with running(Projector(pool, log, Heard())):
            log.write(history[:2])
            await until(lambda: passed(pool, "answers", 2))
            assert await changes.answer("shop", "/test/run-1", "e1", wait_seconds=0.05) is None
            waiting = asyncio.create_task(changes.answer("shop", "/test/run-1", "e1", wait_seconds=10))
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
    changes = Changes(pool)
    others = [p for p in HISTORY_READERS if p is not RUNS]
    await Lane(pool, EVENTS, 0, others).take(log.records[EVENTS])
    asked = ("shop", "/test/run-1", "e1")
    assert await changes.answer(*asked, wait_seconds=0.05) is None
    assert await changes.answer(*asked, projections=["tiers", "rejections"], wait_seconds=5) is not None


async def test_refusals_that_the_log_has_let_go_are_forgotten(pool: Pool) -> None:
    log, story = ListLog(), success()
    for number in range(3):
        refused(log, story, number)
    await Lane(pool, REJECTIONS, 0, REFUSAL_READERS).take(log.records[REJECTIONS])
    del log.records[REJECTIONS][:2]
    async with running(Projector(pool, log, Heard())):
        await until(lambda: only_one_refusal(pool))
    assert await pool.fetchval("SELECT count(*) FROM answers_v1") == 1


async def only_one_refusal(pool: Pool) -> bool:
    return bool(await pool.fetchval("SELECT count(*) = 1 FROM rejections_v1"))


async def passed(pool: Pool, name: str, offset: int) -> bool:
    query = (
        "SELECT min(next_offset) FROM projection_checkpoints WHERE projection = $1 AND topic = 'autopack.events'"
    )
    return (await pool.fetchval(query, name) or 0) >= offset


async def caught_up(pool: Pool, log: Any) -> bool:
    standings = (await status(pool, log)).projections
    return all(s.standing is Standing.FOLLOWING for s in standings if s.projection != "run_files")


async def is_ready(heard: Heard) -> bool:
    return heard.is_ready


async def is_troubled(heard: Heard) -> bool:
    return bool(heard.troubles)
