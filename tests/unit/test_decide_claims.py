"""Claims: the first stands, a replaced one is no attempt, and each has a limit."""

import pytest

from events.decide.verdicts import Reason
from events.families.build import BuildFailed, BuildRequested
from events.families.failure import FailureClass
from events.families.time import DeadlineKind, DeadlinePassed
from events.families.work import RevokeReason, WorkRevoked, WorkStarted
from events.state import RequestKind
from events.states import PhaseState, RunState
from support.scenario import PATCH, START, Scenario, plan


def test_a_request_waits_for_a_free_worker_until_it_is_claimed():
    run = Scenario().started()
    assert run.run.shown_state is RunState.PHASE_QUEUEING
    run.claimed()
    assert run.run.shown_state is RunState.PHASE_EXECUTION
    assert run.phase().state is PhaseState.EXECUTING


def test_the_first_claim_stands():
    run = Scenario().started()
    run.claimed(instance="one")
    second = WorkStarted(request_id=run.open("P1").id, instance="two", limit_seconds=60)
    rejection = run.refused(second)
    assert rejection.reason is Reason.CLAIM_STANDS
    assert "one" in rejection.message


def test_a_claim_that_names_the_standing_one_replaces_it_and_is_no_attempt():
    run = Scenario().started()
    run.claimed(instance="one")
    claim = run.open("P1").claim
    assert claim is not None
    run.later(50)
    assert run.claimed(instance="two", replaces=claim.id) == ["WorkStarted"]
    assert run.open("P1").claim.instance == "two"
    assert run.phase().attempt == 1


def test_a_claim_that_names_one_that_does_not_stand_is_refused():
    run = Scenario().started()
    nobody = WorkStarted(request_id=run.open("P1").id, instance="two", limit_seconds=60, replaces="other")
    assert run.refused(nobody).reason is Reason.CLAIM_STANDS
    run.claimed()
    assert run.refused(nobody).reason is Reason.CLAIM_STANDS


def test_a_replaced_instance_may_still_answer_first():
    run = Scenario().started()
    run.claimed(instance="one")
    run.claimed(instance="two", replaces=run.open("P1").claim.id)
    assert run.built() == ["BuildSucceeded", "ApplyRequested"]


def test_a_limit_is_counted_from_the_latest_claim():
    run = Scenario().started()
    run.claimed(limit_seconds=60)
    run.later(55)
    run.claimed(instance="two", replaces=run.open("P1").claim.id, limit_seconds=60)
    due_at = run.deadline(DeadlineKind.REQUEST).due_at
    assert (due_at - START).total_seconds() == 55 + 60 + 30


def test_a_claim_gives_no_more_time_than_its_request():
    run = Scenario().started()
    run.claimed(limit_seconds=999_999_999)
    due_at = run.deadline(DeadlineKind.REQUEST).due_at
    assert (due_at - START).total_seconds() == run.asked().limit_seconds + 30 == 3630


def test_a_claim_of_a_preparation_gives_no_more_time_than_its_request():
    run = Scenario()
    run.say(plan())
    run.claimed(None, limit_seconds=999_999_999)
    assert (run.deadline(DeadlineKind.REQUEST).due_at - START).total_seconds() == 630


def test_an_unclaimed_request_has_no_limit_but_the_runs_own():
    run = Scenario().started()
    with pytest.raises(StopIteration):
        run.deadline(DeadlineKind.REQUEST)
    assert run.deadline(DeadlineKind.RUN)


def test_a_build_out_of_time_is_a_failed_attempt():
    run = Scenario().started()
    run.claimed()
    assert run.passed(DeadlineKind.REQUEST) == ["DeadlinePassed", "WorkRevoked", "BuildRequested"]
    assert run.last(WorkRevoked).reason is RevokeReason.TIME_LIMIT
    assert run.asked().attempt == 2
    assert "time limit" in run.asked().feedback[0].summary


@pytest.mark.parametrize("kind", [RequestKind.APPLY, RequestKind.CHECKS])
def test_every_other_request_out_of_time_fails_the_attempt_as_well(kind: RequestKind):
    run = Scenario().started()
    run.built()
    if kind is RequestKind.CHECKS:
        run.applied(1)
    assert run.open("P1").kind is kind
    run.claimed()
    assert run.passed(DeadlineKind.REQUEST)[-1] == "BuildRequested"


def test_time_limits_alone_end_a_run():
    run = Scenario().started(max_duration_minutes=None)
    while "run-1" in run.project.runs:
        run.claimed()
        run.passed(DeadlineKind.REQUEST)
        if "run-1" in run.project.runs and run.run.ending:
            run.passed(DeadlineKind.ENDING)
    assert len(run.written(BuildRequested)) == 3
    run.ended_as(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW)


def test_a_revoked_request_cannot_be_claimed():
    run = Scenario().started()
    run.claimed()
    first = run.open("P1").id
    run.passed(DeadlineKind.REQUEST)
    late = WorkStarted(request_id=first, instance="two", limit_seconds=60)
    assert run.refused(late).reason is Reason.REVOKED


def test_an_answered_request_cannot_be_claimed():
    run = Scenario().started()
    first = run.open("P1").id
    run.built()
    late = WorkStarted(request_id=first, instance="two", limit_seconds=60)
    assert run.refused(late).reason is Reason.ALREADY_ANSWERED


def test_the_report_of_revoked_work_is_admitted_while_the_run_goes_on():
    run = Scenario().started()
    run.claimed()
    first = run.open("P1").id
    run.passed(DeadlineKind.REQUEST)
    report = BuildFailed(request_id=first, phase_id="P1", attempt=1, failure=FailureClass.REVOKED, reason="killed")
    assert run.say(report) == ["BuildFailed"]
    assert run.phase().attempt == 2
    assert run.refused(report).reason is Reason.ALREADY_ANSWERED


def test_an_early_deadline_is_refused_by_the_clock_of_the_log():
    run = Scenario().started()
    deadline = run.deadline(DeadlineKind.RUN)
    run.later(60)
    early = DeadlinePassed(kind=DeadlineKind.RUN, due_at=run.now)
    rejection = run.refused(early)
    assert rejection.reason is Reason.EARLY_DEADLINE
    assert deadline.due_at.isoformat() in rejection.message


@pytest.mark.parametrize("kind", [DeadlineKind.REQUEST, DeadlineKind.ENDING, DeadlineKind.INTEGRATION])
def test_a_deadline_that_does_not_stand_is_moot(kind: DeadlineKind):
    run = Scenario().started()
    run.later(1e6)
    moot = DeadlinePassed(kind=kind, request_id=run.open("P1").id, due_at=run.now)
    assert run.refused(moot).reason is Reason.MOOT_DEADLINE


def test_the_limit_of_a_replaced_claim_is_early_for_the_new_one():
    run = Scenario().started()
    run.claimed(limit_seconds=60)
    old = run.deadline(DeadlineKind.REQUEST)
    run.later(80)
    run.claimed(instance="two", replaces=run.open("P1").claim.id)
    run.later(11)
    late = DeadlinePassed(kind=DeadlineKind.REQUEST, request_id=old.request_id, due_at=old.due_at)
    assert run.refused(late).reason is Reason.EARLY_DEADLINE


def test_a_preparation_is_claimed_like_any_other_work():
    run = Scenario()
    run.say(plan())
    assert run.claimed(None) == ["WorkStarted"]
    assert run.prepared()[:2] == ["RunPrepared", "RunAccepted"]
    assert run.asked().base_commit == "b" * 40
    assert run.built(patch=PATCH)[-1] == "ApplyRequested"
