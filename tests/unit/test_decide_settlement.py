"""Usage that came late, or with an answer that was refused for another reason: what was paid is written down."""

from typing import Any

from events.decide import Context, decide
from events.decide.verdicts import Reason, Rejection
from events.families.apply import PatchAccepted
from events.families.base import Usage
from events.families.budget import BudgetExceeded, BudgetKind, BudgetSettled
from events.families.build import BuildFailed, BuildSucceeded
from events.families.failure import FailureClass
from events.families.time import DeadlineKind
from events.states import RunState
from support.scenario import BASE, PATCH, Scenario, commit, used


def built(request_id: str, attempt: int = 1, **fields: Any) -> BuildSucceeded:
    filled = {"request_id": request_id, "phase_id": "P1", "attempt": attempt, "patch": PATCH, **fields}
    return BuildSucceeded.model_validate(filled)


def late_scenario() -> tuple[Scenario, str]:
    """Given a build that ran out of time, and a second attempt."""
    run = Scenario().started(token_cap=1000)
    run.claimed()
    request = run.open("P1").id
    run.passed(DeadlineKind.REQUEST)
    return run, request


def test_a_late_result_is_rejected_not_applied_and_its_usage_is_settled():
    run, request = late_scenario()
    rejection = run.refused(built(request, usage=used(40)))
    assert rejection.reason is Reason.REVOKED
    assert [e.data for e in rejection.settles] == [
        BudgetSettled(request_id=request, phase_id="P1", usage=used(40))
    ]
    assert (run.run.tokens_used, run.phase().tokens_used) == (40, 40)
    assert run.phase().attempt == 2
    assert run.phase().patches == ()


def test_usage_is_settled_once():
    run, request = late_scenario()
    run.refused(built(request, usage=used(40)))
    again = run.refused(built(request, usage=used(40)))
    assert (again.reason, again.settles) == (Reason.ALREADY_ANSWERED, ())
    assert run.run.tokens_used == 40


def test_usage_that_is_not_known_is_not_settled():
    run, request = late_scenario()
    assert run.refused(built(request)).settles == ()


def test_the_usage_of_an_answered_request_is_not_settled_again():
    run = Scenario().started()
    request = run.open("P1").id
    run.built(usage=used(10))
    rejection = run.refused(built(request, usage=used(10)))
    assert (rejection.settles, run.run.tokens_used) == ((), 10)


def test_usage_that_came_late_can_end_the_run_in_the_same_step():
    run, request = late_scenario()
    rejection = run.refused(built(request, usage=used(1001)))
    assert [type(e.data) for e in rejection.settles][:2] == [BudgetSettled, BudgetExceeded]
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


def test_a_late_success_of_revoked_work_lets_the_run_end_at_once():
    run = Scenario().started()
    run.claimed()
    request = run.open("P1").id
    run.cancelled()
    rejection = run.refused(built(request, usage=used(40)))
    assert rejection.settles[0].data == BudgetSettled(request_id=request, phase_id="P1", usage=used(40))
    assert run.ended_as(RunState.DONE_FAILED_CANCELLED).tokens_used == 40


def ended_scenario() -> tuple[Scenario, str]:
    run = Scenario().started()
    run.claimed()
    request = run.open("P1").id
    run.cancelled()
    run.passed(DeadlineKind.ENDING)
    return run, request


def test_usage_that_comes_after_the_end_is_settled_in_the_runs_history():
    run, request = ended_scenario()
    rejection = run.refused(built(request, usage=used(40)))
    assert rejection.reason is Reason.RUN_ENDED
    assert [e.run_id for e in rejection.settles] == ["run-1"]
    assert run.last(BudgetSettled).usage == used(40)
    assert run.refused(built(request, usage=used(40))).settles == ()


def test_a_report_of_revoked_work_after_the_end_is_settled_as_well():
    run, request = ended_scenario()
    report = BuildFailed(
        request_id=request,
        phase_id="P1",
        attempt=1,
        failure=FailureClass.REVOKED,
        reason="killed",
        usage=used(3),
    )
    assert len(run.refused(report).settles) == 1


def test_after_the_end_only_requests_that_were_open_are_settled():
    run, _ = ended_scenario()
    assert run.refused(built("another", usage=used(40))).settles == ()


def test_only_the_work_of_agents_is_settled():
    run = Scenario().started()
    run.built()
    run.claimed()
    request = run.open("P1").id
    run.cancelled()
    run.passed(DeadlineKind.ENDING)
    late = PatchAccepted(
        request_id=request,
        phase_id="P1",
        attempt=1,
        parent=BASE,
        candidate=commit(1),
        tree=commit(2),
        usage=used(9),
    )
    assert run.refused(late).settles == ()


def test_usage_of_an_external_agent_that_comes_after_the_end_is_settled():
    run = Scenario().started(agents={"builder": "external"})
    request = run.open("P1").id
    run.cancelled()
    assert len(run.refused(built(request, usage=used(40))).settles) == 1


def test_the_phase_of_the_request_is_charged_whatever_phase_the_answer_names():
    run, request = late_scenario()
    wrong = built(request, usage=used(40)).model_copy(update={"phase_id": "P7"})
    assert run.refused(wrong).reason is Reason.WRONG_ANSWER
    assert (run.phase().tokens_used, run.run.tokens_used) == (40, 40)


def test_settling_is_decided_alike_every_time():
    run, request = late_scenario()
    late = run.event(built(request, usage=used(40)))
    first, second = (decide(run.project, late, Context(run.now)) for _ in range(2))
    assert isinstance(first, Rejection)
    assert first == second
    assert first.settles[0].cause_id == late.id
    assert first.settles[0].id != late.id


# ---- cost without tokens


def test_a_cost_without_tokens_is_settled_and_makes_the_tokens_a_lower_bound():
    run = Scenario().started(max_cost_usd=4)
    run.claimed()
    request = run.open("P1").id
    run.passed(DeadlineKind.REQUEST)
    rejection = run.refused(built(request, usage=Usage(cost_usd=3)))
    assert [type(e.data) for e in rejection.settles] == [BudgetSettled]
    assert (run.run.cost_usd, run.run.tokens_are_lower_bound) == (3, True)


def test_a_cost_that_came_late_can_end_the_run():
    run = Scenario().started(max_cost_usd=4)
    run.claimed()
    request = run.open("P1").id
    run.passed(DeadlineKind.REQUEST)
    run.refused(built(request, usage=Usage(cost_usd=5)))
    assert run.last(BudgetExceeded).kind is BudgetKind.COST
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


# ---- several claims on one request


def claimed_twice(**changes: Any) -> tuple[Scenario, str]:
    """Given a build that one worker claimed, and another in its place."""
    run = Scenario().started(**changes)
    run.claimed(instance="one")
    request = run.open("P1")
    assert request.claim is not None
    run.claimed(instance="two", replaces=request.claim.id)
    return run, request.id


def test_the_usage_of_a_replaced_worker_is_settled_when_the_other_has_answered():
    run, request = claimed_twice()
    run.built(usage=used(100))
    assert run.run.tokens_are_lower_bound
    rejection = run.refused(built(request, usage=used(4_999_999)))
    assert rejection.reason is Reason.ALREADY_ANSWERED
    assert run.last(BudgetSettled).usage == used(4_999_999)
    assert run.last(BudgetExceeded).used == 5_000_099
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


def test_each_claim_is_settled_once():
    run, request = claimed_twice()
    run.built(usage=used(100))
    assert run.refused(built(request, usage=used(100))).settles == ()
    assert len(run.refused(built(request, usage=used(7))).settles) == 1
    assert run.refused(built(request, usage=used(8))).settles == ()
    assert (run.run.tokens_used, run.run.tokens_are_lower_bound) == (107, False)


def test_the_usage_of_a_replaced_worker_is_settled_after_the_end_as_well():
    run, request = claimed_twice()
    run.completed()
    assert len(run.refused(built(request, usage=used(7))).settles) == 1
    assert run.project.ended["run-1"].unsettled == ()


def test_a_success_whose_replaced_worker_never_reported_is_a_lower_bound():
    run, _ = claimed_twice()
    run.built(usage=used(100))
    run.applied(1)
    run.green()
    run.landed()
    assert run.ended_as(RunState.DONE_SUCCESS).tokens_are_lower_bound


# ---- answers that are wrong


def test_the_usage_of_a_wrong_answer_is_settled_once_and_its_request_stays_open():
    run = Scenario().started()
    run.claimed()
    request = run.open("P1").id
    rejection = run.refused(built(request, attempt=2, usage=used(40)))
    assert (rejection.reason, len(rejection.settles)) == (Reason.WRONG_ANSWER, 1)
    assert run.refused(built(request, attempt=2, usage=used(41))).settles == ()
    assert run.run.tokens_used == 40
    assert run.built(usage=used(2)) == ["BuildSucceeded", "ApplyRequested"]
    assert run.run.tokens_used == 42


def test_a_wrong_answer_to_what_nobody_was_paid_for_settles_nothing():
    run = Scenario().started()
    assert run.refused(built(run.open("P1").id, attempt=2, usage=used(40))).settles == ()


# ---- ids


def test_what_two_late_answers_settle_under_one_id_has_two_ids():
    """A refused id is not kept, so a client may number the answers of each request from 1."""
    phases = [{"phase_id": "P1", "depends_on": []}, {"phase_id": "P2", "depends_on": []}]
    run = Scenario().started(phases)
    for phase_id in ("P1", "P2"):
        run.claimed(phase_id)
    requests = [(phase_id, run.open(phase_id).id) for phase_id in ("P1", "P2")]
    run.cancelled()
    for phase_id, request in requests:
        late = built(request, usage=used(5)).model_copy(update={"phase_id": phase_id})
        run.submit(run.event(late, id="1"))
    ids = [e.id for e in run.history]
    assert len(run.written(BudgetSettled)) == 2
    assert len(set(ids)) == len(ids)
