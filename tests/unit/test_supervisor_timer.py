"""When the supervisor wakes, and what it takes for the time."""

from datetime import UTC, datetime, timedelta

import pytest
from immutables import Map
from msgspec.structs import replace

from events.decide.deadlines import ANSWER_GRACE, ENDING_PATIENCE
from events.families.time import DeadlineKind, DeadlinePassed
from events.history import PartitionState
from services.supervisor.timer import LONGEST_PAUSE_SECONDS, RESUBMIT_SECONDS, LogClock, Timer
from support.scenario import START, Scenario, plan

KEY = ("shop", "run-1")
ANSWER_DUE = START + timedelta(seconds=60) + ANSWER_GRACE


class Seconds:
    """A machine's own seconds, that pass when the test says so."""

    def __init__(self) -> None:
        self.passed = 1_000.0

    def __call__(self) -> float:
        return self.passed


def of(run: Scenario) -> PartitionState:
    return PartitionState(projects=Map({"shop": run.project}))


def claimed() -> Scenario:
    """A run with two deadlines: the answer's, then its own."""
    run = Scenario().started()
    run.claimed(limit_seconds=60)
    return run


def loaded(run: Scenario, seconds: Seconds | None = None) -> Timer:
    timer = Timer(seconds=seconds or Seconds())
    timer.load(of(run))
    return timer


def kinds(timer: Timer, now: datetime) -> list[DeadlineKind]:
    return [deadline.kind for _, deadline in timer.due(now)]


def test_the_earliest_deadline_is_waited_for_and_comes_no_earlier():
    timer = loaded(claimed())
    assert timer.seconds_to_next(START) == 90
    assert timer.due(ANSWER_DUE - timedelta(microseconds=1)) == []
    assert kinds(timer, ANSWER_DUE) == [DeadlineKind.REQUEST]


def test_without_a_deadline_there_is_nothing_to_wait_for():
    timer = loaded(Scenario().started(max_duration_minutes=None))
    assert timer.seconds_to_next(START) is None


def test_a_deadline_that_was_answered_comes_no_more():
    run = claimed()
    timer = loaded(run)
    run.built()
    timer.update(of(run), [KEY])
    assert kinds(timer, ANSWER_DUE) == []


def test_a_run_that_has_ended_has_no_deadlines():
    run = Scenario().started()
    timer = loaded(run)
    run.cancelled()
    timer.update(of(run), [KEY])
    assert timer.seconds_to_next(START) is None
    assert kinds(timer, START + timedelta(days=400)) == []


def test_a_deadline_without_effect_comes_again_and_more_seldom_each_time():
    seconds, now = Seconds(), ANSWER_DUE
    timer = loaded(claimed(), seconds)
    pauses = []
    for _ in range(14):
        assert kinds(timer, now) == [DeadlineKind.REQUEST]
        waited = timer.seconds_to_next(now)
        assert waited is not None
        assert kinds(timer, now + timedelta(seconds=waited - 0.5)) == []
        seconds.passed += waited
        now += timedelta(seconds=waited)
        pauses.append(waited)
    assert pauses[:3] == [RESUBMIT_SECONDS, 2 * RESUBMIT_SECONDS, 4 * RESUBMIT_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


def test_what_has_changed_in_a_run_lets_its_deadlines_come_at_once():
    seconds = Seconds()
    run = claimed()
    timer = loaded(run, seconds)
    for _ in range(6):
        timer.due(ANSWER_DUE)
        seconds.passed += 1_000
    run.cancelled()
    timer.update(of(run), [KEY])
    assert kinds(timer, run.now + ENDING_PATIENCE) == [DeadlineKind.ENDING]


def test_a_clock_that_was_ahead_does_not_make_a_deadline_late():
    """It was submitted a day early and refused; now that the time is known it comes when it is due."""
    timer = loaded(claimed())
    assert kinds(timer, START + timedelta(days=1)) == [DeadlineKind.RUN, DeadlineKind.REQUEST]
    timer.clock_corrected()
    assert timer.seconds_to_next(START) == 90
    assert kinds(timer, ANSWER_DUE - timedelta(seconds=1)) == []


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(days=1)])
def test_what_stands_when_the_logs_clock_jumps_ahead_keeps_the_time_that_it_had_left(jump: timedelta):
    run = claimed()
    timer = loaded(run)
    timer.clock_jumped(jump)
    assert timer.seconds_to_next(START + jump) == 90
    assert kinds(timer, ANSWER_DUE + jump - timedelta(seconds=1)) == []
    run.built()
    timer.update(of(run), [KEY])
    assert kinds(timer, START + jump + timedelta(minutes=119)) == []
    assert kinds(timer, START + jump + timedelta(minutes=120)) == [DeadlineKind.RUN]


def test_a_claim_from_after_a_jump_is_not_put_off():
    run = claimed()
    timer = loaded(run)
    timer.clock_jumped(timedelta(hours=1))
    run.now = START + timedelta(hours=1)
    run.claimed(replaces=run.open("P1").claim.id, limit_seconds=30)
    timer.update(of(run), [KEY])
    assert kinds(timer, run.now + timedelta(seconds=30) + ANSWER_GRACE) == [DeadlineKind.REQUEST]


def test_a_jump_that_is_taken_back_puts_nothing_off_any_more():
    timer = loaded(claimed())
    timer.clock_jumped(timedelta(hours=1))
    timer.clock_corrected(timedelta(hours=1))
    assert timer.seconds_to_next(START) == 90


def test_a_log_whose_clock_stands_still_gets_no_flood_of_early_deadlines():
    """A server whose clock was set back may give one time to every record until it has caught up."""
    seconds = Seconds()
    run = claimed()
    run.cancelled()
    timer = loaded(run, seconds)
    corrected_at, submitted = seconds.passed, 0
    for _ in range(3_600):
        seconds.passed += 1
        if timer.due(START + timedelta(seconds=seconds.passed - corrected_at)):
            submitted += 1
            corrected_at = seconds.passed
            timer.clock_corrected()
    assert 3 < submitted < 30


def test_the_deadlines_of_a_quarantined_run_are_left_alone():
    run = claimed()
    forked = replace(of(run), quarantined=Map({KEY: "a fork"}))
    timer = Timer(seconds=Seconds())
    timer.load(forked)
    assert timer.seconds_to_next(START) is None
    timer.update(forked, [KEY])
    assert kinds(timer, START + timedelta(days=1)) == []


def test_what_was_overtaken_does_not_fill_the_memory():
    run = Scenario().started()
    timer = loaded(run)
    for turn in range(2_000):
        standing = run.open("P1").claim
        run.claimed(replaces=standing.id if standing else None, limit_seconds=60 + turn)
        timer.update(of(run), [KEY])
    assert timer.entries < 100


def test_deadlines_of_many_runs_come_in_their_order():
    run = Scenario()
    for number in range(5):
        run.say(plan(run_id=f"run-{number}", max_duration_minutes=10 - number), f"run-{number}")
    timer = loaded(run)
    due = [deadline.run_id for _, deadline in timer.due(START + timedelta(minutes=8))]
    assert due == ["run-4", "run-3", "run-2"]


def test_the_turn_of_each_waiting_run_is_due_at_once_one_after_another():
    project = Scenario()
    project.say(plan(run_id="run-1"))
    for number in (2, 3, 4):
        project.say(plan(run_id=f"run-{number}", follows="run-1"), f"run-{number}")
    timer = loaded(project)
    assert timer.due(START) == []
    project.cancelled()
    timer.update(of(project), [KEY, ("shop", "run-2")])
    ((_, deadline),) = timer.due(START)
    assert (deadline.run_id, deadline.kind) == ("run-3", DeadlineKind.TURN)
    project.say(DeadlinePassed(kind=DeadlineKind.TURN, due_at=deadline.due_at), "run-3")
    timer.update(of(project), [("shop", "run-3")])
    assert [d.run_id for _, d in timer.due(START)] == ["run-4"]


def test_whose_turn_it_is_is_known_after_taking_over():
    project = Scenario(runs_at_once=1)
    for number in (1, 2, 3):
        project.say(plan(run_id=f"run-{number}"), f"run-{number}")
    for places, due in ((1, []), (2, ["run-2"])):
        timer = Timer(places, Seconds())
        timer.load(of(project))
        assert [d.run_id for _, d in timer.due(START)] == due


def test_the_clock_begins_with_the_machines_and_an_old_record_does_not_set_it_back():
    clock = LogClock()
    began = clock.now()
    assert abs(began - datetime.now(UTC)) < timedelta(minutes=1)
    clock.hear(began - timedelta(hours=1))
    assert clock.now() >= began


def test_the_log_moves_the_clock_forward_and_a_refusal_sets_it_back():
    clock = LogClock()
    ahead = clock.now() + timedelta(days=1)
    clock.hear(ahead)
    assert timedelta(0) <= clock.now() - ahead < timedelta(minutes=1)
    behind = ahead - timedelta(days=2)
    assert timedelta(days=2) <= clock.correct(behind) < timedelta(days=2, minutes=1)
    assert timedelta(0) <= clock.now() - behind < timedelta(minutes=1)


def test_the_clock_has_jumped_where_a_record_is_ahead_of_what_was_known_to_be_right():
    seconds = Seconds()
    clock = LogClock(seconds)
    assert clock.hear(clock.now() - timedelta(seconds=1)) == timedelta()
    seconds.passed += 3_600
    assert clock.hear(clock.now() + timedelta(seconds=30)) == timedelta()
    assert clock.hear(clock.now() + timedelta(days=1)) == timedelta(days=1)
    assert clock.hear(clock.now()) == timedelta()


def test_a_machine_whose_own_clock_is_behind_takes_the_first_news_of_the_log_for_no_jump():
    clock = LogClock(Seconds())
    began = clock.now()
    assert clock.hear(began - timedelta(hours=3)) == timedelta()
    assert clock.hear(began + timedelta(hours=2)) == timedelta()
    assert clock.now() == began + timedelta(hours=2)
    assert clock.hear(began + timedelta(hours=3)) == timedelta(hours=1)
