"""What stops a projection, where it stops, and that the others go on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from events.catalogue import Topic
from events.families.tier import TierStarted
from events.log.port import NewRecord, Place, StoredRecord
from events.log.telling import event_id
from projections.database import Pool
from projections.follower import Follower
from projections.lane import Lane, fold_into
from projections.phases import PHASES
from projections.projection import Entry
from projections.projector import Projector
from projections.rebuild import rebuild
from projections.status import Standing
from projections.tiers import TIERS
from projections.timeline import TIMELINE
from support.histories import ListLog, failure, random_history, recorded, success
from support.projecting import (
    Heard,
    at,
    is_alarmed,
    passed,
    running,
    sabotaged,
    status,
    stopped,
    until,
    view,
    with_one,
)
from support.scenario import plan
from support.tables import (
    EVENTS,
    HISTORY_READERS,
    REFUSAL_READERS,
    REJECTIONS,
    all_rows,
    tables_at_zero,
)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


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
        f"event {event_id(history[stops_at].value)}: RuntimeError: cannot fold this",
    )
    assert f"tiers stands still in autopack.events/0 at offset {stops_at}: event " in (now.trouble or "")
    assert list(alarms) == ["tiers_v1 autopack.events/0"]
    assert {s.standing for s in now.projections if s.projection not in ("tiers", "run_files")} == {
        Standing.FOLLOWING
    }
    assert (await view(pool)).run.state == "DONE_SUCCESS"


async def test_a_stopped_projection_is_followed_again_once_it_is_rebuilt(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.projector.LOOK_AGAIN_SECONDS", 0.2)
    log, heard, broken = ListLog(), Heard(), with_one(sabotaged(TIERS, TierStarted))
    log.write(recorded(success()))

    async def hindered(number: int) -> bool:
        return len(heard.hindrances) == len(heard.alarms) == number

    async with running(Projector(pool, log, heard, projections=[*broken, *REFUSAL_READERS[-1:]])):
        await until(lambda: stopped(pool, log, "tiers"))
        await until(lambda: hindered(1))
        assert list(heard.hindrances) == ["tiers_v1 autopack.events/0"]
        await rebuild(pool, log, TIERS)
        await until(lambda: hindered(0))
        log.write(random_history(1)[:1])
        await until(lambda: passed(pool, "tiers", len(log.records[EVENTS])))


async def test_a_record_that_cannot_be_read_stops_those_who_want_it_and_no_others(pool: Pool) -> None:
    log, history = ListLog(), recorded(success())
    place = next(i for i, r in enumerate(history) if r.type_name == TierStarted.type_name())
    log.write(history)
    good = log.records[EVENTS][place]
    log.records[EVENTS][place] = structs.replace(good, value=good.value.replace(b'"tier_index"', b'"tier_number"'))
    lane = Lane(pool, EVENTS, 0, [PHASES, TIERS, TIMELINE])
    await lane.take(log.records[EVENTS][: place + 1])
    assert lane.projections == [PHASES]
    now = await status(pool, log)
    assert (at(now, "tiers").standing, at(now, "tiers").next_offset) == (Standing.STOPPED, place)
    assert (at(now, "timeline").standing, at(now, "timeline").next_offset) == (Standing.STOPPED, place)
    assert f"event {event_id(good.value)}: unreadable: data.tier_" in at(now, "tiers").error
    assert f"tiers, timeline stand still in autopack.events/0 at offset {place}: event" in str(now.trouble)
    assert at(now, "phases").next_offset == place + 1


class HeldLog(ListLog):
    """Whoever reads has to wait until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_read = asyncio.Event()

    async def read(self, place: Place, start: int, end: int | None = None) -> Sequence[StoredRecord]:
        await self.may_read.wait()
        return await super().read(place, start, end)


async def test_who_catches_up_where_all_others_have_stopped_passes_over_nothing(pool: Pool) -> None:
    """They stopped at the first of some records that the log had brought, and will not bring again."""
    log, history = HeldLog(), recorded(success())
    log.write(history[:12])
    place = 10
    newer = log.records[EVENTS][place]
    log.records[EVENTS][place] = structs.replace(newer, headers={"type": b"autopack.BuildSucceeded.v9"})
    others = [p for p in HISTORY_READERS if p is not TIERS]
    await Lane(pool, EVENTS, 0, others).take(log.records[EVENTS][:place])
    follower = Follower(pool, log, EVENTS, HISTORY_READERS)
    await follower.begin()
    await follower.take(log.records[EVENTS][place:])
    log.may_read.set()
    await until(lambda: _has_caught_up(follower))
    log.write(history[12:13])
    await follower.take(log.records[EVENTS][12:])
    tiers = at(await status(pool, log), "tiers")
    assert (tiers.standing, tiers.next_offset) == (Standing.STOPPED, place)
    await follower.end()


async def _has_caught_up(follower: Follower) -> bool:
    return follower.has_caught_up


@pytest.mark.parametrize("unknown", [b"autopack.BuildSucceeded.v9", b"autopack.PhasePaused.v1"])
async def test_an_event_of_a_newer_version_stops_every_projection(pool: Pool, unknown: bytes) -> None:
    log, history = ListLog(), recorded(success())
    log.write(history[:12])
    newer = log.records[EVENTS][10]
    log.records[EVENTS][10] = structs.replace(newer, headers={"type": unknown})
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
        return [structs.replace(row, sequence=2**40 if row.sequence == 23 else row.sequence) for row in made]

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
    story.history[0] = structs.replace(
        story.history[0],
        source="/te\x00st",
        data=plan([{"phase_id": "P1", "tier_id": "T1", "description": "a\x00b\\u0000c"}]),
    )
    log = ListLog()
    log.write(recorded(story)[:1])
    lane = Lane(pool, EVENTS, 0, HISTORY_READERS)
    await lane.take(log.records[EVENTS])
    assert lane.projections == HISTORY_READERS
    found = await pool.fetchrow("SELECT description, source FROM phases_v1 JOIN runs_v2 USING (project, run_id)")
    assert tuple(found) == ("a\ufffdb\\u0000c", "/te\ufffdst/run-1")


async def test_a_checkpoint_beyond_the_end_of_the_log_is_an_alarm_never_a_reset(pool: Pool) -> None:
    log, heard = ListLog(), Heard()
    log.write(recorded(success()))
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    another = ListLog()
    another.write(recorded(failure())[:3])
    ahead = at(await status(pool, another), "runs")
    assert ahead.standing is Standing.AHEAD
    assert "beyond the end of the log, 3" in str(ahead.error)
    before = await all_rows(pool)
    async with running(Projector(pool, another, heard)):
        await until(lambda: is_alarmed(heard, "runs_v2 autopack.events/0"))
    assert await all_rows(pool) == before
    assert at(await status(pool, another), "runs").standing is Standing.AHEAD


class Growing(ListLog):
    """A log that grows, and is followed, whenever somebody has asked where it ends."""

    def __init__(self, history: list[Any], lane: Lane) -> None:
        super().__init__()
        self._to_come, self._lane = history, lane

    async def ends(self, topic: Topic) -> dict[int, int]:
        found = dict(await super().ends(topic))
        if topic is Topic.EVENTS and self._to_come:
            self.write([self._to_come.pop(0)])
            await self._lane.take(self.records[EVENTS][-1:])
        return found


async def test_what_is_folded_while_somebody_looks_is_not_beyond_the_end(pool: Pool) -> None:
    history = recorded(success())
    log = Growing(history, Lane(pool, EVENTS, 0, HISTORY_READERS))
    while history:
        now = await status(pool, log)
        assert (now.trouble, at(now, "runs").standing) == (None, Standing.FOLLOWING)


async def test_a_flood_of_large_junk_is_taken_in_lots(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    async def counting(connection: Any, move: Any, records: Any, memories: Any) -> Any:
        taken.append(sum(len(record.value) for record in records))
        return await fold_into(connection, move, records, memories)

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
