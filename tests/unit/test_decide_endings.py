"""How a run ends: by which cause, in which state, and what it waits for before it does."""

from collections.abc import Callable

import pytest

from events.decide.deadlines import deadlines, earliest_deadline
from events.families.base import ArtifactRef
from events.families.build import BuildFailed
from events.families.failure import FailureClass
from events.families.integrate import IntegrationRequested, SnapshotCreated
from events.families.phase import PhaseCompleted, PhaseFailed, PhaseFailure, PhaseSkipped
from events.families.run import PrepareFailed, RunPromoted
from events.families.tier import TierCompleted
from events.families.time import DeadlineKind
from events.families.work import RevokeReason, WorkRevoked
from events.states import RunState, TierState
from support.scenario import BASE, Scenario, commit, plan, used

THREE = [{"phase_id": "P1"}, {"phase_id": "P2"}, {"phase_id": "P3", "tier_id": "T2"}]


def test_every_phase_complete_is_success():
    run = Scenario().started(THREE)
    for number, phase_id in enumerate(("P1", "P2", "P3"), start=1):
        run.completed(phase_id, number)
    terminal = run.ended_as(RunState.DONE_SUCCESS)
    assert terminal.head_commit == commit(3)
    assert [t.state for t in run.written(TierCompleted)] == [TierState.COMPLETE, TierState.COMPLETE]


def test_out_of_attempts_by_a_policy_violation_ends_as_one():
    run = Scenario().started()
    for _ in range(3):
        run.built()
        run.not_applied(FailureClass.VIOLATIONS)
    assert run.last(PhaseFailed).cause is PhaseFailure.POLICY_VIOLATION
    run.ended_as(RunState.DONE_FAILED_POLICY_VIOLATION)


@pytest.mark.parametrize("last", [FailureClass.CONFLICT, FailureClass.TOO_LARGE])
def test_only_the_last_attempt_decides_whether_policy_ended_the_run(last: FailureClass):
    run = Scenario().started()
    for failure in (FailureClass.VIOLATIONS, FailureClass.VIOLATIONS, last):
        run.built()
        run.not_applied(failure)
    run.ended_as(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW)


def test_out_of_attempts_by_red_checks_needs_a_person():
    run = Scenario().started()
    for number in range(3):
        run.built()
        run.applied(number + 1)
        run.red()
    terminal = run.ended_as(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW)
    assert (terminal.incident.phase_id, terminal.incident.failure) == ("P1", FailureClass.RED_CHECKS)
    assert len(terminal.incident.details) == 3


@pytest.mark.parametrize("failure", [f for f in FailureClass if f.is_environment])
def test_an_unusable_environment_ends_the_run_at_the_first_attempt(failure: FailureClass):
    run = Scenario().started()
    run.not_built(failure=failure)
    run.ended_as(RunState.DONE_FAILED_ENVIRONMENT)


def test_an_auditor_that_is_missing_ends_the_run():
    run = Scenario().started([{"phase_id": "P1", "task_category": "security_auth"}])
    run.built()
    run.not_audited(failure=FailureClass.MISSING_AGENT)
    run.ended_as(RunState.DONE_FAILED_ENVIRONMENT)


@pytest.mark.parametrize(
    "failure", [FailureClass.REPOSITORY_MISSING, FailureClass.REPOSITORY_EMPTY, FailureClass.BASE_MISSING]
)
def test_a_repository_that_cannot_be_prepared_ends_the_run(failure: FailureClass):
    run = Scenario()
    run.say(plan())
    names = run.say(PrepareFailed(request_id=run.open().id, failure=failure, reason="not there"))
    assert names == ["PrepareFailed", "RunFailed"]
    terminal = run.ended_as(RunState.DONE_FAILED_ENVIRONMENT)
    assert (terminal.reason, terminal.incident.failure) == ("not there", failure)


def test_a_preparation_out_of_time_ends_the_run():
    run = Scenario()
    run.say(plan())
    run.claimed(None)
    run.passed(DeadlineKind.REQUEST)
    run.passed(DeadlineKind.ENDING)
    run.ended_as(RunState.DONE_FAILED_ENVIRONMENT)


@pytest.mark.parametrize(
    "checks", [None, {"normal": [], "strict": []}, {"strict": [{"name": "s", "argv": ["x"]}]}]
)
def test_a_run_without_checks_is_refused_and_told_why(checks: object):
    run = Scenario()
    run.say(plan(checks=checks))
    assert run.prepared() == ["RunPrepared", "RunFailed"]
    terminal = run.ended_as(RunState.DONE_FAILED_ENVIRONMENT)
    assert "no check for CI profile 'normal'" in terminal.reason
    assert '"checks": "none"' in terminal.reason


def test_a_failed_phase_ends_the_run_and_skips_what_had_not_begun():
    run = Scenario().started(THREE)
    run.not_built(failure=FailureClass.MISSING_AGENT)
    assert [p.phase_id for p in run.written(PhaseSkipped)] == ["P2", "P3"]
    assert [t.state for t in run.written(TierCompleted)] == [TierState.FAILED, TierState.SKIPPED]


def test_a_tier_that_had_begun_fails_even_where_none_of_its_phases_had():
    run = Scenario().started(THREE, max_phases=0)
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)
    assert [t.state for t in run.written(TierCompleted)] == [TierState.FAILED, TierState.SKIPPED]


def test_the_longest_reason_does_not_break_the_end():
    run = Scenario().started(THREE)
    run.not_built(failure=FailureClass.INTERNAL, reason="r" * 4000)
    assert run.ended_as(RunState.DONE_FAILED_ENVIRONMENT).reason.startswith("phase P1: rrr")


def test_the_first_cause_decides_how_a_run_ends():
    run = Scenario().started()
    run.claimed()
    run.cancelled(reason="enough")
    run.cancelled(reason="enough again")
    run.passed(DeadlineKind.ENDING)
    assert run.ended_as(RunState.DONE_FAILED_CANCELLED).reason == "enough"


# ---- cancellation, in every state


def requested(run: Scenario) -> None:
    run.say(plan())


def preparing(run: Scenario) -> None:
    requested(run)
    run.claimed(None)


def waiting_for_a_builder(run: Scenario) -> None:
    run.started(THREE)


def building(run: Scenario) -> None:
    waiting_for_a_builder(run)
    run.claimed()


def auditing(run: Scenario) -> None:
    run.started([{"phase_id": "P1", "task_category": "security_auth"}])
    run.built()
    run.claimed()


def applying(run: Scenario) -> None:
    waiting_for_a_builder(run)
    run.built()


def checking(run: Scenario) -> None:
    applying(run)
    run.applied(1)
    run.claimed()


@pytest.mark.parametrize(
    ("state", "waits"),
    [
        (requested, False),
        (preparing, True),
        (waiting_for_a_builder, False),
        (building, True),
        (auditing, True),
        (applying, False),
        (checking, True),
    ],
)
def test_a_run_is_cancelled_in_every_state(state: Callable[[Scenario], None], waits: bool):
    run = Scenario()
    state(run)
    names = run.cancelled()
    assert names[:2] == ["RunCancelRequested", "WorkRevoked"]
    assert run.last(WorkRevoked).reason is RevokeReason.RUN_CANCELLED
    assert ("run-1" in run.project.runs) is waits
    if waits:
        run.passed(DeadlineKind.ENDING)
    run.ended_as(RunState.DONE_FAILED_CANCELLED)


def test_a_queued_run_is_cancelled_without_ever_having_begun():
    run = Scenario(runs_at_once=1)
    run.say(plan())
    run.say(plan(run_id="run-2"), "run-2")
    assert run.cancelled("run-2") == ["RunCancelRequested", "RunFailed"]
    run.ended_as(RunState.DONE_FAILED_CANCELLED, "run-2")
    assert tuple(run.project.line) == ()


def test_the_usage_of_revoked_work_is_awaited_for_a_while():
    run = Scenario().started()
    run.claimed()
    request = run.open("P1")
    run.cancelled()
    answer = BuildFailed(
        request_id=request.id,
        phase_id="P1",
        attempt=1,
        failure=FailureClass.REVOKED,
        reason="killed",
        usage=used(70),
    )
    run.later(1)
    assert run.say(answer) == ["BuildFailed", "PhaseFailed", "TierCompleted", "RunFailed"]
    assert run.ended_as(RunState.DONE_FAILED_CANCELLED).tokens_used == 70


def test_usage_that_never_came_makes_the_total_a_lower_bound():
    run = Scenario().started()
    run.claimed()
    run.cancelled()
    run.passed(DeadlineKind.ENDING)
    assert run.ended_as(RunState.DONE_FAILED_CANCELLED).tokens_are_lower_bound


def test_a_success_whose_earlier_attempt_never_reported_is_a_lower_bound_too():
    run = Scenario().started()
    run.claimed()
    run.passed(DeadlineKind.REQUEST)
    run.built(usage=used(5))
    run.applied(1)
    run.green()
    run.landed()
    assert run.ended_as(RunState.DONE_SUCCESS).tokens_are_lower_bound


def test_usage_all_reported_is_no_lower_bound():
    run = Scenario().started()
    run.built(usage=used(5))
    run.applied(1)
    run.green()
    run.landed()
    terminal = run.ended_as(RunState.DONE_SUCCESS)
    assert (terminal.tokens_used, terminal.tokens_are_lower_bound) == (5, False)


def test_an_agent_that_does_not_count_makes_the_total_a_lower_bound():
    run = Scenario().started()
    run.completed()
    assert run.ended_as(RunState.DONE_SUCCESS).tokens_are_lower_bound


# ---- integrations are looked up, never presumed undone


def integrating(**changes: object) -> Scenario:
    run = Scenario().started(THREE, **changes)
    run.built()
    run.applied(1)
    run.green()
    return run


def test_an_integration_is_never_revoked_and_its_landing_counts():
    run = integrating()
    assert run.cancelled() == ["RunCancelRequested"]
    run.passed(DeadlineKind.ENDING)
    assert "run-1" in run.project.runs
    names = run.landed()
    assert names[:2] == ["SnapshotCreated", "PhaseCompleted"]
    assert run.ended_as(RunState.DONE_FAILED_CANCELLED).head_commit == commit(1)
    assert run.written(WorkRevoked) == []
    assert [p.phase_id for p in run.written(PhaseCompleted)] == ["P1"]


def test_an_integration_that_failed_ends_the_waiting():
    run = integrating()
    run.cancelled()
    run.not_landed(FailureClass.MOVED, head=commit(9))
    run.ended_as(RunState.DONE_FAILED_CANCELLED)


def test_after_an_hour_the_run_ends_and_says_that_its_branch_is_not_known():
    run = integrating()
    run.cancelled(reason="c" * 4000)
    begun = run.now
    run.passed(DeadlineKind.ENDING)
    names = run.passed(DeadlineKind.INTEGRATION)
    assert (run.now - begun).total_seconds() == 3600
    assert names[0] == "DeadlinePassed"
    assert "is not known" in run.ended_as(RunState.DONE_FAILED_CANCELLED).reason
    assert run.last(PhaseFailed).cause is PhaseFailure.RUN_ENDED


def test_a_run_whose_branch_is_not_known_is_adrift_until_somebody_retries_it():
    run = integrating()
    run.cancelled()
    run.passed(DeadlineKind.ENDING)
    assert run.project.adrift == ()
    run.passed(DeadlineKind.INTEGRATION)
    assert run.project.adrift == ("run-1",)
    run.say(plan(run_id="run-2"), "run-2")
    assert run.project.adrift == ("run-1",)
    run.say(plan(run_id="run-3", retry_of="run-1"), "run-3")
    assert run.project.adrift == ()


def test_a_run_whose_integration_was_answered_is_not_adrift():
    run = integrating()
    run.cancelled()
    run.landed()
    assert run.project.adrift == ()


def test_an_integration_has_no_time_limit_of_its_own():
    run = integrating(max_duration_minutes=None)
    run.claimed()
    assert deadlines(run.run) == []


def test_a_diverged_branch_ends_the_run():
    run = integrating()
    run.not_landed(FailureClass.DIVERGED)
    run.ended_as(RunState.DONE_FAILED_ENVIRONMENT)


def test_a_limit_that_passes_during_the_last_integration_still_ends_the_run_by_that_limit():
    run = Scenario().started()
    run.built()
    run.applied(1)
    run.green()
    run.passed(DeadlineKind.RUN)
    run.landed()
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


# ---- after the end


def test_a_success_can_be_promoted_more_than_once_and_a_repetition_is_silent():
    run = Scenario().started()
    run.completed()
    for branch in ("main", "release"):
        assert run.say(RunPromoted(branch=branch, commit=commit(1))) == ["RunPromoted"]
    again = run.event(RunPromoted(branch="release", commit=commit(1)), id=f"e{run.count}")
    assert run.submit(again) == []


def test_an_ended_project_has_no_deadline():
    run = Scenario().started()
    run.completed()
    assert earliest_deadline(run.project) is None


def test_the_tag_and_branch_are_named_after_run_tier_and_phase():
    run = Scenario()
    run.started([{"phase_id": "P1", "tier_id": "tier one"}])
    run.built()
    run.applied(1)
    run.green()
    asked: IntegrationRequested = run.asked()
    assert (asked.branch, asked.tag) == ("autonomous/run-1", "autonomous/run-1/tier-tier%20one/phase-P1")
    assert asked.expected_head is None
    run.landed()
    assert run.last(SnapshotCreated).tag == asked.tag


def test_the_second_integration_moves_the_branch_from_the_first():
    run = Scenario().started(THREE)
    run.completed("P1", 1)
    run.built("P2", patch=ArtifactRef(digest="sha256:" + "d" * 64, size_bytes=1))
    run.applied(2, "P2")
    run.green("P2")
    assert run.asked("P2").expected_head == commit(1)
    assert run.asked("P2").origin.parent == commit(1)
    assert run.phase("P2").candidate.parent == commit(1) != BASE
