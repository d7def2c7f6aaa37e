"""What readers ask of the tables."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from events.catalogue import Topic
from events.history import HistoryRecord
from events.log.port import NewRecord
from projections.database import Connection, Pool
from projections.lane import Lane
from projections.phases import PHASES
from projections.queries.metrics import list_metrics, read_metrics, tier_metrics
from projections.queries.reading import rows
from projections.queries.rejections import RejectionNotFound, list_rejections, read_rejection
from projections.queries.runs import (
    RunAmbiguous,
    RunNotFound,
    list_attempts,
    list_runs,
    read_run,
)
from projections.queries.summary import summarize
from projections.queries.timeline import list_events
from projections.queries.totals import read_totals
from projections.queries.waiting import Waiting, read_waiting
from projections.runs import RUNS
from projections.tiers import TIERS
from support.histories import ListLog, failure, recorded, success
from support.scenario import START, Scenario, plan
from support.tables import EVENTS, HISTORY_READERS, REFUSAL_READERS, REJECTIONS, tables_at_zero


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.acquire() as connection:
        yield connection


async def fold(pool: Pool, log: ListLog) -> None:
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])


async def follow(pool: Pool, log: ListLog, records: Sequence[HistoryRecord]) -> None:
    """Write more records, and fold those."""
    start = len(log.records[EVENTS])
    log.write(records)
    await Lane(pool, EVENTS, start, HISTORY_READERS).take(log.records[EVENTS][start:])


def many(number: int) -> ListLog:
    """Runs that were asked for one second after another, but every other pair at the same moment."""
    log = ListLog()
    for index in range(number):
        story = Scenario()
        story.later(index // 2)
        story.say(plan())
        log.write(recorded(story, f"run-{index}"))
    return log


async def test_pages_of_runs_hold_each_run_once_the_newest_first(pool: Pool, connection: Connection) -> None:
    await fold(pool, many(7))
    seen, behind = [], None
    while True:
        page = await list_runs(connection, behind=behind, limit=2)
        seen += page.runs
        behind = page.next
        if behind is None:
            break
    assert sorted(run.run_id for run in seen) == [f"run-{n}" for n in range(7)]
    assert [run.created_at for run in seen] == sorted((run.created_at for run in seen), reverse=True)
    assert seen[0].created_at == START + timedelta(seconds=3)


async def test_runs_are_chosen_by_state_and_project(pool: Pool, connection: Connection) -> None:
    log = many(2)
    log.write(recorded(failure(), "bad", "mill"))
    await fold(pool, log)
    assert {r.run_id for r in (await list_runs(connection, states=["PLAN_BOOTSTRAP"])).runs} == {"run-0", "run-1"}
    assert [r.run_id for r in (await list_runs(connection, project="mill")).runs] == ["bad"]
    assert (await list_runs(connection, project="mill", states=["GATE"])).runs == []
    assert (await list_runs(connection, states=[])).runs == []


async def test_a_run_is_found_in_any_project_and_namesakes_are_told(pool: Pool, connection: Connection) -> None:
    log = ListLog()
    log.write([*recorded(success(), "same", "shop"), *recorded(failure(), "same", "mill")])
    log.write(recorded(success(), "one", "mill"))
    await fold(pool, log)
    assert (await read_run(connection, "one")).run.project == "mill"
    with pytest.raises(RunAmbiguous) as ambiguous:
        await read_run(connection, "same")
    assert ambiguous.value.projects == ("mill", "shop")
    mills = await read_run(connection, "same", "mill")
    assert mills.run.state == "DONE_FAILED_POLICY_VIOLATION"
    assert {one.project for one in (mills.run, *mills.tiers, *mills.phases)} == {"mill"}
    with pytest.raises(RunNotFound, match="Run none not found"):
        await read_run(connection, "none")


async def test_a_run_comes_with_tiers_and_phases_in_the_order_of_work(pool: Pool, connection: Connection) -> None:
    log = ListLog()
    log.write(recorded(success()))
    await fold(pool, log)
    view = await read_run(connection, "run-1")
    assert [(t.tier_id, t.state, [p.phase_id for p in view.phases_of(t.tier_id)]) for t in view.tiers] == [
        ("T1", "COMPLETE", ["P1"]),
        ("T2", "COMPLETE", ["P2"]),
    ]
    first, second = view.phases
    assert (first.builder_attempts, first.auditor_attempts, first.ci_runs_used) == (3, 0, 2)
    assert (first.tokens_used, first.summary, list(first.files)) == (175, "mended", ["a.py"])
    assert (second.auditor_attempts, len(second.patches)) == (2, 2)
    assert (view.run.tokens_used, view.run.tokens_lower_bound, view.run.ci_runs_used) == (190, True, 3)


async def test_a_run_is_read_as_its_rows_are(pool: Pool, connection: Connection) -> None:
    log = ListLog()
    log.write([*recorded(success(), "good"), *recorded(failure(), "bad"), *recorded(Scenario().started(), "open")])
    await fold(pool, log)
    for run_id in ("good", "bad", "open"):
        view = await read_run(connection, run_id)
        assert [view.run] == await rows(connection, RUNS, "WHERE run_id = $1", run_id)
        assert list(view.tiers) == await rows(connection, TIERS, "WHERE run_id = $1 ORDER BY tier_index", run_id)
        assert list(view.phases) == await rows(connection, PHASES, "WHERE run_id = $1 ORDER BY position", run_id)
        assert view.tiers
        assert view.phases


async def test_before_a_run_is_accepted_it_has_no_tiers_and_no_phases(pool: Pool, connection: Connection) -> None:
    log = ListLog()
    log.write(recorded(success())[:2])
    await fold(pool, log)
    view = await read_run(connection, "run-1")
    assert (view.run.state, view.run.tier_count, view.run.phase_count) == ("PLAN_BOOTSTRAP", 2, 2)
    assert (view.tiers, view.phases) == ([], [])


async def test_attempts_tell_what_came_of_each_request(pool: Pool, connection: Connection) -> None:
    log = ListLog()
    log.write(recorded(success()))
    await fold(pool, log)
    attempts = await list_attempts(connection, "shop", "run-1", phase_id="P1")
    assert [(a.kind, a.attempt, a.outcome, a.failure) for a in attempts] == [
        ("build", 1, "succeeded", None),
        ("apply", 1, "failed", "violations"),
        ("build", 2, "succeeded", None),
        ("apply", 2, "succeeded", None),
        ("checks", 2, "failed", "red_checks"),
        ("build", 3, "succeeded", None),
        ("apply", 3, "succeeded", None),
        ("checks", 3, "succeeded", None),
        ("integration", 3, "succeeded", None),
    ]
    assert attempts[0].instance == "worker-1"
    assert attempts[1].details["violations"][0]["path"] == "out"
    assert attempts[4].details["checks"][0]["output"] == "assert 1 == 2"
    assert await list_attempts(connection, "shop", "run-1", only_open=True) == []


async def test_open_requests_are_those_without_an_answer(pool: Pool, connection: Connection) -> None:
    story = Scenario().started()
    log = ListLog()
    log.write(recorded(story))
    await fold(pool, log)
    (waiting,) = await list_attempts(connection, "shop", "run-1", only_open=True)
    assert (waiting.kind, waiting.phase_id, waiting.claims) == ("build", "P1", 0)


async def test_what_waits_is_counted_with_the_time_that_the_oldest_has_waited(
    pool: Pool, connection: Connection
) -> None:
    log, story = ListLog(), Scenario().started()
    log.write([*recorded(story), *recorded(story, "run-2"), *recorded(story, "claimed", "other")])
    log.write(recorded(story, "in-line")[:1])
    await fold(pool, log)
    assert (await read_waiting(connection)).keys() == {
        "run",
        "prepare",
        "build",
        "audit",
        "apply",
        "checks",
        "integration",
    }
    await connection.execute("UPDATE attempts_v2 SET claims = 1 WHERE run_id = 'claimed'")
    await connection.execute(
        "UPDATE attempts_v2 SET requested_at = now() - interval '90 s' WHERE kind = 'build' AND run_id = 'run-2'"
    )
    await connection.execute("UPDATE runs_v2 SET created_at = now() + interval '1 h' WHERE run_id = 'in-line'")
    waiting = await read_waiting(connection)
    assert waiting["build"].count == 2
    assert waiting["build"].oldest_seconds >= 90
    assert waiting["run"] == Waiting(1, 0.0)
    assert waiting["apply"] == Waiting(0, 0.0)


async def test_events_come_by_pages_with_their_places_in_the_log(pool: Pool, connection: Connection) -> None:
    log = ListLog(gap=3)
    history = recorded(success())
    log.write(history)
    await fold(pool, log)
    seen, start = [], 0
    while start is not None:
        page = await list_events(connection, "shop", "run-1", from_sequence=start, limit=10)
        seen += page.events
        start = page.next_sequence
    assert [event.sequence for event in seen] == list(range(len(history)))
    by_offset = {record.offset: record.value for record in log.records[EVENTS]}
    assert [by_offset[event.log_offset] for event in seen] == [record.value for record in history]
    built = await list_events(connection, "shop", "run-1", names=["BuildSucceeded"], phase_id="P1")
    assert [event.type for event in built.events] == ["BuildSucceeded.v1"] * 3


async def test_numbers_of_runs_and_sums_over_them(pool: Pool, connection: Connection) -> None:
    log = ListLog()
    log.write([*recorded(success(), "good"), *recorded(failure(), "bad")])
    await fold(pool, log)
    page = await list_metrics(connection, limit=1)
    assert (page.total_runs, len(page.runs), page.next is not None) == (2, 1, True)
    (good,) = (await list_metrics(connection, states=["DONE_SUCCESS"])).runs
    assert (good.tokens_used, good.token_utilization, good.max_minor_issues_total) == (190, 190 / 5_000_000, 6)
    totals = await read_totals(connection)
    assert totals.runs_by_state == {"DONE_FAILED_POLICY_VIOLATION": 1, "DONE_SUCCESS": 1}
    assert (totals.builds, totals.audits, totals.ci_runs) == (7, 2, 3)
    assert totals.failures == {"red_checks": 1, "violations": 4}
    assert totals.stages["build"]["working_seconds"] == 5.0
    counted = await read_metrics(connection, "shop", "good")
    assert counted is not None
    assert (counted.flaky_checks, counted.violations, counted.unknown_usages) == (1, 1, 1)
    assert counted.slices == {"other:medium": 175, "schema_contract_change:high": 15}


async def test_totals_of_nothing_are_nothing(connection: Connection) -> None:
    totals = await read_totals(connection)
    assert (totals.runs_by_state, totals.events, totals.stages) == ({}, 0, {})


async def test_the_summary_of_a_run_has_the_first_versions_shape(pool: Pool, connection: Connection) -> None:
    log = ListLog()
    log.write(recorded(success()))
    await fold(pool, log)
    view = await read_run(connection, "run-1")
    summary = summarize(view)
    assert (summary.budgets.tokens_used, summary.budgets.phase_count, summary.budgets.max_phases) == (190, 2, 25)
    assert (summary.issues.minor_count, summary.issues.max_minor_total) == (0, 6)
    assert [(p.phase_id, p.state, p.builder_attempts) for p in summary.phases] == [
        ("P1", "COMPLETE", 3),
        ("P2", "COMPLETE", 1),
    ]
    assert tier_metrics(view.tiers[0], view.phases_of("T1")).phase_states == {"COMPLETE": 1}


async def test_an_external_builders_attempt_counts_when_it_is_reported(pool: Pool, connection: Connection) -> None:
    story = Scenario().started(agents={"builder": "external", "auditor": "external"})
    waiting = recorded(story)
    story.not_built("P1")  # It is asked once more, at once.
    story.built("P1")
    log, counted = ListLog(), []
    for records in (waiting, recorded(story)[len(waiting) : -2], recorded(story)[-2:]):
        await follow(pool, log, records)
        counted += [phase.builder_attempts for phase in summarize(await read_run(connection, "run-1")).phases]
    assert counted == [0, 1, 2]


async def test_a_tier_without_phases_is_pending_until_its_run_ends(pool: Pool, connection: Connection) -> None:
    tiers = [{"tier_id": name, "tier_index": i, "name": name} for i, name in enumerate(("T0", "T1"))]
    story = Scenario().started(tiers=tiers)
    created = recorded(story)
    story.completed()
    log, seen = ListLog(), []
    for records in (created, recorded(story)[len(created) :]):
        await follow(pool, log, records)
        seen.append([tier.state for tier in summarize(await read_run(connection, "run-1")).tiers])
    assert seen == [["PENDING", "IN_PROGRESS"], ["COMPLETE", "COMPLETE"]]


async def test_refused_records_come_by_pages_and_one_by_one(pool: Pool, connection: Connection) -> None:
    log = ListLog()
    for number in range(5):
        headers = {"reason": b"unreadable" if number % 2 else b"too_large"}
        at = START + timedelta(seconds=number // 2)
        log.append(Topic.REJECTIONS, NewRecord("shop", bytes([number]), headers), at)
    await Lane(pool, REJECTIONS, 0, REFUSAL_READERS).take(log.records[REJECTIONS])
    seen, behind = [], None
    while True:
        page = await list_rejections(connection, behind=behind, limit=2)
        seen += page.rejections
        behind = page.next
        if behind is None:
            break
    assert [row.log_offset for row in seen] == [4, 3, 2, 1, 0]
    chosen = await list_rejections(connection, reason="unreadable")
    assert [row.raw for row in chosen.rejections] == [b"\x03", b"\x01"]
    assert (await read_rejection(connection, 0, 2)).raw == b"\x02"
    with pytest.raises(RejectionNotFound):
        await read_rejection(connection, 0, 99)
