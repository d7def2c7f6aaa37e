"""Which runs begin, in which order; which tiers and phases; and runs whose work is done elsewhere."""

from typing import Any

import pytest

from events.decide.deadlines import turn
from events.decide.verdicts import Reason
from events.event import Event
from events.evolve import lose
from events.families.phase import PhaseStarted
from events.families.run import PrepareRequested, RunFailed
from events.families.tier import TierStarted
from events.families.time import DeadlineKind, DeadlinePassed
from events.families.work import WorkStarted
from events.states import PhaseState, RunState
from support.scenario import Scenario, commit, plan

TIERS = [
    {"phase_id": "A1", "tier_id": "T1"},
    {"phase_id": "A2", "tier_id": "T1"},
    {"phase_id": "B1", "tier_id": "T2"},
]
EXTERNAL = {"agents": {"builder": "external", "auditor": "external"}}


def submit(project: Scenario, run_id: str, **changes: Any) -> list[str]:
    return project.say(plan(run_id=run_id, **changes), run_id)


def started_runs(project: Scenario) -> list[str]:
    return [e.run_id for e in project.history if isinstance(e.data, PrepareRequested)]


def test_runs_begin_first_come_first_served_within_the_limit():
    project = Scenario(runs_at_once=1)
    assert submit(project, "run-1") == ["RunRequested", "PrepareRequested"]
    assert submit(project, "run-2") == ["RunRequested"]
    assert submit(project, "run-3") == ["RunRequested"]
    assert project.cancelled("run-1")[-1] == "PrepareRequested"
    assert started_runs(project) == ["run-1", "run-2"]
    project.cancelled("run-2")
    assert started_runs(project) == ["run-1", "run-2", "run-3"]


def test_without_a_limit_every_run_begins_at_once():
    project = Scenario()
    for number in range(5):
        assert submit(project, f"run-{number}") == ["RunRequested", "PrepareRequested"]


def test_a_run_that_follows_another_waits_for_its_end_and_starts_from_its_head():
    project = Scenario()
    project.started()
    assert submit(project, "run-2", follows="run-1") == ["RunRequested"]
    project.completed("P1", 7)
    assert project.last(PrepareRequested, "run-2").base == commit(7)


def test_a_base_that_is_named_wins_over_the_head_of_the_run_that_is_followed():
    project = Scenario()
    project.started()
    submit(project, "run-2", follows="run-1", base="release")
    project.completed()
    assert project.last(PrepareRequested, "run-2").base == "release"


def test_a_waiting_follower_lets_those_behind_it_pass():
    project = Scenario(runs_at_once=2)
    submit(project, "run-1")
    submit(project, "run-2", follows="run-1")
    assert submit(project, "run-3") == ["RunRequested", "PrepareRequested"]
    assert tuple(project.project.line) == ("run-2",)


def test_a_run_that_follows_an_ended_one_begins_at_once():
    project = Scenario()
    project.started()
    project.completed("P1", 7)
    assert submit(project, "run-2", follows="run-1") == ["RunRequested", "PrepareRequested"]
    assert project.last(PrepareRequested, "run-2").base == commit(7)


def test_what_follows_in_two_runs_never_shares_an_id():
    """A client that numbers its records from 1 in every run must not mix up their requests."""
    project = Scenario()
    for run_id in ("run-1", "run-2"):
        project.submit(project.event(plan(run_id=run_id), run_id, id="1"))
    ids = [e.id for e in project.history if isinstance(e.data, PrepareRequested)]
    assert len(set(ids)) == 2


def test_tiers_are_worked_in_the_order_of_their_index():
    phases = [{"phase_id": "Z", "tier_id": "second"}, {"phase_id": "A", "tier_id": "first"}]
    tiers = [
        {"tier_id": "second", "tier_index": 2, "name": "s"},
        {"tier_id": "first", "tier_index": 1, "name": "f"},
    ]
    run = Scenario().started(phases, tiers=tiers)
    run.completed("A", 1)
    run.completed("Z", 2)
    assert [t.tier_id for t in run.written(TierStarted)] == ["first", "second"]
    run.ended_as(RunState.DONE_SUCCESS)


def test_a_tier_begins_only_when_the_one_before_is_complete():
    run = Scenario().started(TIERS)
    run.completed("A1", 1)
    assert [p.phase_id for p in run.written(PhaseStarted)] == ["A1", "A2"]
    names = run.completed("A2", 2)
    assert names == [
        "SnapshotCreated",
        "PhaseCompleted",
        "TierCompleted",
        "TierStarted",
        "PhaseStarted",
        "BuildRequested",
    ]


def test_a_tier_without_phases_is_complete_at_once():
    tiers = [{"tier_id": t, "tier_index": i, "name": t} for i, t in enumerate(("T0", "T1"))]
    run = Scenario().started(tiers=tiers)
    assert [t.tier_id for t in run.written(TierStarted)] == ["T0", "T1"]
    run.completed()
    run.ended_as(RunState.DONE_SUCCESS)


def test_a_single_tier_run_works_the_tier_that_it_names_and_no_other():
    run = Scenario().started(TIERS, run_scope="single_tier", tier="T2")
    run.completed("B1", 1)
    run.ended_as(RunState.DONE_SUCCESS)
    assert [p.phase_id for p in run.written(PhaseStarted)] == ["B1"]


def test_a_single_tier_run_need_not_name_its_only_tier():
    run = Scenario().started(run_scope="single_tier")
    run.completed()
    run.ended_as(RunState.DONE_SUCCESS)


def test_a_phase_waits_for_the_one_before_it_in_its_tier():
    run = Scenario().started(TIERS)
    assert run.run.waiting("A2") is None
    assert run.phase("A2").state is PhaseState.QUEUED


def test_phases_without_dependencies_run_side_by_side():
    phases = [{"phase_id": p, "depends_on": []} for p in ("P1", "P2", "P3")]
    run = Scenario().started(phases)
    assert [p.phase_id for p in run.written(PhaseStarted)] == ["P1", "P2", "P3"]


def test_a_phase_waits_for_all_that_it_depends_on():
    phases = [
        {"phase_id": "P1", "depends_on": []},
        {"phase_id": "P2", "depends_on": []},
        {"phase_id": "P3", "depends_on": ["P1", "P2"]},
    ]
    run = Scenario().started(phases)
    run.completed("P1", 1)
    assert not run.phase("P3").begun
    run.completed("P2", 2)
    assert run.phase("P3").begun


def test_with_phases_side_by_side_the_run_shows_the_furthest():
    run = Scenario().started([{"phase_id": p, "depends_on": []} for p in ("P1", "P2")])
    run.claimed("P1")
    run.built("P2")
    assert run.run.shown_state is RunState.GATE
    run.applied(1, "P2")
    assert run.run.shown_state is RunState.CI_RUNNING


# ---- many that may begin at once


def take_turn(project: Scenario) -> list[Event]:
    """What the supervisor's own deadline leads to; nothing else need happen in the project."""
    deadline = turn(project.project, project.runs_at_once)
    assert deadline is not None
    data = DeadlinePassed(kind=DeadlineKind.TURN, due_at=deadline.due_at)
    decision = project.submit(project.event(data, deadline.run_id))
    assert isinstance(decision, list)
    return decision


def test_runs_that_follow_one_run_begin_one_a_step_in_their_order():
    project = Scenario()
    submit(project, "run-1")
    for number in (2, 3, 4):
        submit(project, f"run-{number}", follows="run-1")
    project.cancelled("run-1")
    assert started_runs(project) == ["run-1", "run-2"]
    assert [type(e.data) for e in take_turn(project)] == [DeadlinePassed, PrepareRequested]
    take_turn(project)
    assert started_runs(project) == ["run-1", "run-2", "run-3", "run-4"]
    assert turn(project.project, None) is None


def tracking(phases: int) -> dict[str, Any]:
    """A plan that only tracks, all of whose phases begin at once."""
    return {
        "phases": [{"phase_id": f"P{n}", "depends_on": []} for n in range(phases)],
        "repository": None,
        "max_phases": None,
        **EXTERNAL,
    }


def test_many_large_followers_begin_in_steps_that_the_log_can_take():
    project = Scenario()
    submit(project, "run-1", repository=None, **EXTERNAL)
    for number in range(2, 8):
        submit(project, f"run-{number}", follows="run-1", **tracking(phases=250))
    before = len(project.history)
    project.cancelled("run-1")
    steps = [len(project.history) - before]
    while project.project.line:
        steps.append(len(take_turn(project)))
    assert project.project.started_runs == 6
    assert max(steps) < 550


def test_many_small_followers_begin_one_a_step():
    project = Scenario()
    submit(project, "run-1")
    for number in range(2, 502):
        submit(project, f"run-{number}", follows="run-1")
    assert project.cancelled("run-1").count("PrepareRequested") == 1
    steps = [len(take_turn(project)) for _ in range(499)]
    assert (tuple(project.project.line), max(steps)) == ((), 2)


def test_queued_runs_that_end_as_they_begin_end_one_a_step():
    project = Scenario(runs_at_once=1)
    submit(project, "run-1")
    for number in range(2, 12):
        submit(project, f"run-{number}", token_cap=0, **tracking(phases=50))
    project.cancelled("run-1")
    steps = []
    while project.project.line:
        steps.append(len(take_turn(project)))
    assert not project.project.runs
    assert (len(steps), max(steps) < 70) == (9, True)


def test_a_turn_comes_to_the_first_in_line_and_to_nobody_else():
    project = Scenario(runs_at_once=1)
    for number in (1, 2, 3):
        submit(project, f"run-{number}")
    mine = DeadlinePassed(kind=DeadlineKind.TURN, due_at=project.now)
    assert project.refused(mine, "run-2").reason is Reason.MOOT_DEADLINE
    project.runs_at_once = 2
    assert project.refused(mine, "run-3").reason is Reason.MOOT_DEADLINE
    assert project.say(mine, "run-2") == ["DeadlinePassed", "PrepareRequested"]


def test_more_places_than_before_are_taken_without_further_traffic():
    project = Scenario(runs_at_once=1)
    for number in (1, 2, 3):
        submit(project, f"run-{number}")
    project.runs_at_once = None
    take_turn(project)
    take_turn(project)
    assert started_runs(project) == ["run-1", "run-2", "run-3"]


def test_what_follows_a_run_in_quarantine_fails_and_waits_for_nothing():
    project = Scenario().started()
    submit(project, "run-2", follows="run-1")
    project.project = lose(project.project, "run-1")
    assert [type(e.data) for e in take_turn(project)] == [DeadlinePassed, RunFailed]
    assert "quarantine" in project.ended_as(RunState.DONE_FAILED_ENVIRONMENT, "run-2").reason
    assert submit(project, "run-3", follows="run-1") == ["RunRequested", "RunFailed"]


# ---- external runs


def test_an_external_request_opens_without_a_claim_and_the_run_stays_created():
    run = Scenario().started(**EXTERNAL)
    assert run.open("P1").external
    assert run.run.shown_state is RunState.RUN_CREATED
    assert run.built() == ["BuildSucceeded", "ApplyRequested"]
    assert run.run.shown_state is RunState.GATE


def test_a_failure_that_is_reported_from_outside_takes_the_run_out_of_created():
    run = Scenario().started(**EXTERNAL)
    assert run.not_built() == ["BuildFailed", "BuildRequested"]
    assert run.run.shown_state is RunState.PHASE_EXECUTION


def test_an_external_request_is_claimed_by_nobody():
    run = Scenario().started(**EXTERNAL)
    claim = WorkStarted(request_id=run.open("P1").id, instance="one", limit_seconds=1)
    assert "external" in run.refused(claim).message


def test_an_external_run_without_a_repository_only_tracks():
    run = Scenario()
    names = run.say(plan(repository=None, checks=None, **EXTERNAL))
    assert names == ["RunRequested", "RunAccepted", "TierStarted", "PhaseStarted", "BuildRequested"]
    assert run.run.strategy.checks is None
    assert run.asked().base_commit is None


def test_a_patch_for_a_run_without_a_repository_is_refused_visibly():
    run = Scenario()
    run.say(plan(repository=None, **EXTERNAL))
    assert run.built()[:2] == ["BuildSucceeded", "PhaseFailed"]
    assert "without a repository" in run.ended_as(RunState.DONE_FAILED_ENVIRONMENT).reason


def test_a_tracking_run_holds_a_place_until_it_ends():
    project = Scenario(runs_at_once=1)
    project.say(plan(repository=None, **EXTERNAL))
    assert submit(project, "run-2") == ["RunRequested"]
    assert project.cancelled("run-1")[-2:] == ["RunFailed", "PrepareRequested"]


def test_a_chain_of_queued_runs_is_worked_off_in_one_step_when_each_is_cancelled():
    project = Scenario(runs_at_once=1)
    for number in (1, 2, 3):
        submit(project, f"run-{number}")
    project.cancelled("run-2")
    project.cancelled("run-1")
    assert started_runs(project) == ["run-1", "run-3"]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_never_more_runs_at_once_than_allowed(limit: int):
    project = Scenario(runs_at_once=limit)
    for number in range(5):
        submit(project, f"run-{number}")
        assert project.project.started_runs == min(number + 1, limit)
