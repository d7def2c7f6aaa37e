"""What is refused, for which reason; and what is passed over in silence."""

from datetime import timedelta
from typing import Any

import pytest

from events.catalogue import EVENT_TYPES, SUBMITTED_TO
from events.decide import Context, decide
from events.decide.verdicts import Reason
from events.event import Event
from events.evolve import AfterTheEnd, evolve
from events.families.apply import PatchAccepted
from events.families.build import BuildSucceeded
from events.families.failure import FailureClass
from events.families.integrate import SnapshotCreated
from events.families.issue import IssueReported
from events.families.phase import PhaseOverrideRequested
from events.families.run import (
    PrepareFailed,
    PrepareRequested,
    RunCancelRequested,
    RunCompleted,
    RunPrepared,
    RunPromoted,
)
from events.families.verify import ChecksFailed, ChecksPassed
from events.states import PhaseState
from support.scenario import BASE, PATCH, Scenario, commit, plan, used


def built(request_id: str, attempt: int = 1, **fields: Any) -> BuildSucceeded:
    filled = {"request_id": request_id, "phase_id": "P1", "attempt": attempt, "patch": PATCH, **fields}
    return BuildSucceeded.model_validate(filled)


def test_the_supervisor_alone_writes_what_nobody_may_submit():
    run = Scenario().started()
    data = RunCompleted(head_commit=None, tokens_used=0, tokens_are_lower_bound=False, ci_runs_used=0)
    assert run.refused(data).reason is Reason.NOT_SUBMITTABLE
    assert run.refused(PrepareRequested(repository="r", base=None, limit_seconds=1)).reason is (
        Reason.NOT_SUBMITTABLE
    )
    assert len(SUBMITTED_TO) == 19 < len(EVENT_TYPES)


def test_a_run_id_is_taken_once_in_a_project_while_the_run_lasts_and_for_ever():
    run = Scenario().started()
    assert run.refused(plan()).reason is Reason.DUPLICATE_RUN_ID
    run.completed()
    run.later(10 * 365 * 86_400)
    assert run.refused(plan()).reason is Reason.DUPLICATE_RUN_ID


def test_the_same_request_again_is_silent_while_the_run_lasts_and_for_ever():
    run = Scenario()
    first = run.event(plan())
    run.submit(first)
    assert run.submit(first) == []
    run.prepared()
    run.completed()
    assert run.submit(first) == []


def test_the_same_record_again_is_silent():
    run = Scenario().started()
    claim = run.event(run.answer(BuildSucceeded, patch=PATCH))
    run.submit(claim)
    assert run.submit(claim) == []


def test_an_id_that_the_request_used_is_used_up_for_its_source():
    """Else what follows from the two would share ids within one run."""
    run = Scenario()
    run.submit(run.event(plan(), id="1"))
    assert run.submit(run.event(RunCancelRequested(), id="1")) == []
    assert run.submit(run.event(RunCancelRequested(), id="1", source="/other")) != []


def test_a_plan_is_refused_with_every_fault_named():
    run = Scenario()
    phases = [{"phase_id": "P1", "depends_on": ["P9"]}, {"phase_id": "P1"}]
    rejection = run.refused(plan(phases, follows="run-0"))
    assert rejection.reason is Reason.INVALID_PLAN
    assert [f.place for f in rejection.faults] == ["phases[1].phase_id", "phases[0].depends_on", "follows"]


def test_a_plan_that_names_another_run_or_project_than_its_record_is_refused():
    run = Scenario()
    rejection = run.refused(plan(run_id="run-2", project="other"))
    assert [f.place for f in rejection.faults] == ["project", "run_id"]


def test_a_run_cannot_follow_itself():
    run = Scenario()
    assert run.refused(plan(follows="run-1")).faults[0].place == "follows"


def test_an_unknown_run_is_refused():
    assert Scenario().refused(RunCancelRequested()).reason is Reason.UNKNOWN_RUN


def test_a_run_that_goes_on_cannot_be_promoted():
    run = Scenario().started()
    assert run.refused(RunPromoted(branch="main", commit=BASE)).reason is Reason.RUN_NOT_ENDED


def test_an_unchecked_run_cannot_be_promoted():
    run = Scenario().started(checks="none")
    run.completed()
    promoted = RunPromoted(branch="main", commit=commit(1))
    assert "not checked" in run.refused(promoted).message


def test_a_run_is_promoted_with_the_commit_that_it_ended_with_and_no_other():
    run = Scenario().started()
    run.completed("P1", 7)
    rejection = run.refused(RunPromoted(branch="main", commit=commit(8)))
    assert (rejection.reason, rejection.faults[0].place) == (Reason.INVALID_DATA, "commit")
    assert run.say(RunPromoted(branch="main", commit=commit(7))) == ["RunPromoted"]


def test_a_run_that_failed_cannot_be_promoted():
    run = Scenario().started()
    run.cancelled()
    assert run.refused(RunPromoted(branch="main", commit=BASE)).reason is Reason.RUN_ENDED


def test_after_the_end_a_command_is_refused():
    run = Scenario().started()
    run.completed()
    assert run.refused(RunCancelRequested()).reason is Reason.RUN_ENDED


def test_a_request_that_nobody_made_cannot_be_answered():
    run = Scenario().started()
    assert run.refused(built("no-such-request")).reason is Reason.UNKNOWN_REQUEST


def test_a_second_answer_is_refused():
    run = Scenario().started()
    request = run.open("P1").id
    run.built()
    assert run.refused(built(request)).reason is Reason.ALREADY_ANSWERED


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"attempt": 2}, "attempt 1"), ({"phase_id": "P2"}, "phase P1")],
)
def test_an_answer_for_another_attempt_or_phase_is_refused(fields: dict[str, object], said: str):
    run = Scenario().started([{"phase_id": "P1"}, {"phase_id": "P2"}])
    answer = built(run.open("P1").id).model_copy(update=fields)
    rejection = run.refused(answer)
    assert rejection.reason is Reason.WRONG_ANSWER
    assert said in rejection.message


def test_an_answer_of_another_kind_is_refused():
    run = Scenario().started()
    answer = PrepareFailed(request_id=run.open("P1").id, failure=FailureClass.INTERNAL, reason="?")
    assert run.refused(answer).reason is Reason.WRONG_ANSWER


def test_checks_of_another_commit_are_refused():
    run = Scenario().started()
    run.built()
    run.applied(1)
    other = run.answer(ChecksPassed, candidate=commit(2), tree=run.asked().tree, checks=[])
    assert run.refused(other).reason is Reason.WRONG_ANSWER


def test_checks_of_another_tree_are_refused():
    run = Scenario().started()
    run.built()
    run.applied(1)
    other = run.answer(ChecksPassed, candidate=commit(1), tree=commit(5), checks=[])
    assert run.refused(other).reason is Reason.WRONG_ANSWER


def test_red_checks_of_another_commit_are_refused():
    run = Scenario().started()
    run.built()
    run.applied(1)
    other = run.answer(ChecksFailed, candidate=commit(2), failure=FailureClass.RED_CHECKS, reason="red")
    assert run.refused(other).reason is Reason.WRONG_ANSWER


def test_a_snapshot_of_another_commit_is_refused():
    run = Scenario().started()
    run.built()
    run.applied(1)
    run.green()
    other = run.answer(SnapshotCreated, commit=commit(2), tag=run.asked().tag)
    assert run.refused(other).reason is Reason.WRONG_ANSWER


def test_a_candidate_on_another_parent_is_refused():
    run = Scenario().started()
    run.built()
    other = run.answer(PatchAccepted, parent=commit(3), candidate=commit(1), tree=commit(2))
    assert run.refused(other).reason is Reason.WRONG_ANSWER


def test_an_issue_of_a_phase_that_the_run_does_not_have_is_refused():
    run = Scenario().started()
    issue = IssueReported(phase_id="P9", issue_key="k", severity="minor", source="test")
    assert run.refused(issue).reason is Reason.INVALID_DATA
    assert run.say(issue.model_copy(update={"phase_id": "P1"})) == ["IssueReported"]


def test_overriding_a_phase_is_refused_as_unsupported():
    run = Scenario().started()
    override = PhaseOverrideRequested(phase_id="P1", state=PhaseState.COMPLETE)
    assert run.refused(override).reason is Reason.UNSUPPORTED


def test_a_refusal_changes_nothing():
    run = Scenario().started()
    before = run.project
    run.refused(built("no-such-request", usage=used(5)))
    assert run.project is before


def green_asked() -> Scenario:
    """Given a candidate whose checks are asked for."""
    run = Scenario().started()
    run.built()
    run.applied(1)
    return run


def verdict(run: Scenario, *checks: dict[str, Any]) -> ChecksPassed:
    asked = run.asked()
    made = {"candidate": asked.candidate, "tree": asked.tree, "checks": checks}
    answer: ChecksPassed = run.answer(ChecksPassed, **made)
    return answer


@pytest.mark.parametrize(
    "checks",
    [
        [],
        [{"name": "another", "outcome": "passed"}],
        [{"name": "tests", "outcome": "failed"}],
        [{"name": "tests", "outcome": "not_started"}],
        [{"name": "tests", "outcome": "passed"}, {"name": "lint", "outcome": "timed_out"}],
    ],
)
def test_what_is_not_green_everywhere_does_not_pass(checks: list[dict[str, Any]]):
    run = green_asked()
    assert run.refused(verdict(run, *checks)).reason is Reason.WRONG_ANSWER


def test_a_check_that_passed_on_a_later_try_is_green():
    run = green_asked()
    flaky = {"name": "tests", "outcome": "passed", "tries": 2, "flaky": True}
    assert run.say(verdict(run, flaky))[-1] == "IntegrationRequested"


@pytest.mark.parametrize("changes", [{"tag": "elsewhere"}, {"unchecked": True}])
def test_a_snapshot_with_another_tag_or_without_the_checks_is_not_the_one_asked_for(changes: dict[str, Any]):
    run = green_asked()
    run.green()
    landed = {"commit": run.asked().candidate, "tag": run.asked().tag, "unchecked": False, **changes}
    assert run.refused(run.answer(SnapshotCreated, **landed)).reason is Reason.WRONG_ANSWER


def test_nothing_else_is_folded_after_the_end():
    run = Scenario().started()
    run.completed()
    with pytest.raises(AfterTheEnd):
        evolve(run.project, run.event(RunCancelRequested()))


# ---- every event is caused and timed by what was submitted


def test_what_follows_names_its_cause_and_carries_its_trace():
    run = Scenario()
    request = run.event(plan(), traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    decision = run.submit(request)
    assert isinstance(decision, list)
    assert decision[0] is request
    assert {(e.cause_id, e.traceparent, e.recorded_at) for e in decision[1:]} == {
        (request.id, request.traceparent, run.now)
    }


def test_a_run_that_begins_because_another_has_ended_is_no_part_of_its_trace():
    run = Scenario(runs_at_once=1)
    run.say(plan(run_id="run-1"), "run-1")
    run.say(plan(run_id="run-2"), "run-2")
    ending = run.event(RunCancelRequested(), "run-1", traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    decision = run.submit(ending)
    assert isinstance(decision, list)
    assert {(e.run_id, e.traceparent) for e in decision} == {("run-1", ending.traceparent), ("run-2", None)}


def test_a_decision_depends_on_nothing_but_its_arguments():
    run = Scenario()
    run.say(plan())
    prepared = run.event(RunPrepared(request_id=run.open().id, base_commit=BASE))
    later = run.now + timedelta(days=1)
    first, second = (decide(run.project, prepared, Context(later)) for _ in range(2))
    assert first == second


def test_ids_differ_by_source():
    left, right = Scenario(), Scenario()
    for scenario, source in ((left, "/a"), (right, "/b")):
        scenario.submit(Event("1", source, "run-1", scenario.now, plan()))
    assert left.history[1].id != right.history[1].id
