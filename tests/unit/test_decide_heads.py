"""Phases side by side share one branch: what happens when its head moves under a candidate."""

import pytest

from events.families.apply import ApplyRequested
from events.families.audit import AuditRequested
from events.families.base import Concern
from events.families.failure import FailureClass
from events.families.integrate import IntegrationRequested
from events.families.verify import ChecksRequested
from events.states import PhaseState, RunState
from support.scenario import BASE, Scenario, commit


def side_by_side(*phase_ids: str, category: str | None = None, **changes: object) -> Scenario:
    phases = [{"phase_id": p, "depends_on": [], "task_category": category} for p in phase_ids]
    return Scenario().started(phases, **changes)


def test_a_moved_head_makes_the_candidate_again_and_checks_it_again():
    run = Scenario().started()
    run.built()
    run.applied(1)
    run.green()
    assert run.not_landed(FailureClass.MOVED, head=commit(9)) == ["IntegrationFailed", "ApplyRequested"]
    assert run.asked().parent == commit(9)
    assert run.applied(2) == ["PatchAccepted", "ChecksRequested"]
    run.green()
    assert run.asked().expected_head == commit(9)
    assert run.phase().attempt == 1


def test_a_moved_head_is_audited_again_where_the_category_demands_it():
    run = side_by_side("P1", category="security_auth")
    run.built()
    run.audited("approve")
    run.applied(1)
    run.green()
    assert run.not_landed(FailureClass.MOVED, head=commit(9)) == ["IntegrationFailed", "AuditRequested"]
    assert run.asked().base_commit == commit(9)


def test_a_head_that_moved_without_a_name_is_a_failed_attempt():
    run = Scenario().started()
    run.built()
    run.applied(1)
    run.green()
    assert run.not_landed(FailureClass.MOVED) == ["IntegrationFailed", "BuildRequested"]


def test_one_integration_at_a_time():
    run = side_by_side("P1", "P2")
    for phase_id, number in (("P1", 1), ("P2", 2)):
        run.built(phase_id)
        run.applied(number, phase_id)
    assert run.green("P1")[-1] == "IntegrationRequested"
    assert run.green("P2") == ["ChecksPassed"]
    assert len(run.written(IntegrationRequested)) == 1


def test_a_sibling_that_waited_is_made_and_checked_again_on_the_new_head():
    run = side_by_side("P1", "P2")
    for phase_id, number in (("P1", 1), ("P2", 2)):
        run.built(phase_id)
        run.applied(number, phase_id)
        run.green(phase_id)
    assert run.landed("P1") == ["SnapshotCreated", "PhaseCompleted", "ApplyRequested"]
    assert run.asked("P2").parent == commit(1)
    run.applied(3, "P2")
    run.green("P2")
    run.landed("P2")
    run.ended_as(RunState.DONE_SUCCESS)
    assert [c.candidate for c in run.written(ChecksRequested)] == [commit(1), commit(2), commit(3)]


def test_a_head_that_moves_while_checks_run_makes_their_answer_worthless():
    run = side_by_side("P1", "P2")
    run.built("P1")
    run.applied(1, "P1")
    run.green("P1")
    run.built("P2")
    run.applied(2, "P2")
    run.landed("P1")
    assert run.green("P2") == ["ChecksPassed", "ApplyRequested"]
    assert run.asked("P2").parent == commit(1)


def test_a_head_that_moves_while_a_patch_is_applied_makes_it_be_applied_again():
    run = side_by_side("P1", "P2")
    run.built("P1")
    run.applied(1, "P1")
    run.green("P1")
    run.built("P2")
    assert run.asked("P2").parent == BASE
    run.landed("P1")
    assert run.applied(2, "P2", parent=BASE) == ["PatchAccepted", "ApplyRequested"]


def test_a_conflict_with_the_new_head_goes_back_to_the_builder():
    run = side_by_side("P1", "P2")
    for phase_id, number in (("P1", 1), ("P2", 2)):
        run.built(phase_id)
        run.applied(number, phase_id)
        run.green(phase_id)
    run.landed("P1")
    assert run.not_applied(FailureClass.CONFLICT, "P2") == ["PatchRejected", "BuildRequested"]
    assert (run.asked("P2").attempt, run.asked("P2").base_commit) == (2, commit(1))


@pytest.mark.parametrize("others", [1, 2, 3])
def test_a_head_that_siblings_move_uses_up_nobodys_audits(others: int):
    """One builder attempt, two audits: every landed sibling asks for another approval."""
    ids = [f"P{n}" for n in range(1, others + 2)]
    run = side_by_side(*ids, category="bulk_operation")
    for phase_id in ids:
        run.built(phase_id)
        run.audited("approve", phase_id)
    for number, phase_id in enumerate(ids, start=1):
        run.applied(number, phase_id)
        run.green(phase_id)
        run.landed(phase_id)
        for later in ids[number:]:
            if run.open(later).kind == "apply":
                run.applied(number * 10, later, parent=run.asked(later).parent)
            run.audited("approve", later)
    run.ended_as(RunState.DONE_SUCCESS)


def test_an_approval_is_bound_to_the_head_that_was_audited():
    run = side_by_side("P1", "P2", category="security_auth")
    for phase_id in ("P1", "P2"):
        run.built(phase_id)
    run.audited("approve", "P1")
    run.applied(1, "P1")
    run.green("P1")
    run.landed("P1")
    assert run.audited("approve", "P2") == ["AuditCompleted", "AuditRequested"]
    assert run.asked("P2").base_commit == commit(1)
    assert [a.phase_id for a in run.written(ApplyRequested)] == ["P1"]


def test_concerns_are_looked_at_again_on_a_new_head():
    run = Scenario().started()
    run.built()
    run.applied(1, concerns=[Concern(kind="tests_removed")])
    run.audited("approve")
    run.green()
    run.not_landed(FailureClass.MOVED, head=commit(9))
    assert run.applied(2, concerns=[Concern(kind="tests_removed")])[-1] == "AuditRequested"
    assert len(run.written(AuditRequested)) == 2


def test_a_head_that_moved_to_where_it_was_is_a_failed_attempt():
    run = Scenario().started([{"phase_id": "P1"}, {"phase_id": "P2"}])
    run.completed("P1", 1)
    run.built("P2")
    run.applied(2, "P2")
    run.green("P2")
    assert run.not_landed(FailureClass.MOVED, "P2", head=commit(1)) == ["IntegrationFailed", "BuildRequested"]
    assert run.phase("P2").attempt == 2


def test_a_branch_that_somebody_made_at_the_base_is_a_moved_head_once():
    run = Scenario().started()
    run.built()
    for made in (1, 2):
        run.applied(made)
        run.green()
        if made == 1:
            assert run.not_landed(FailureClass.MOVED, head=BASE)[-1] == "ApplyRequested"
    assert run.not_landed(FailureClass.MOVED, head=BASE)[-1] == "BuildRequested"


ONE_AUDITED = [
    {"phase_id": "P1", "depends_on": []},
    {"phase_id": "P2", "depends_on": [], "task_category": "debt_cleanup"},
]


# ---- what is shown when a phase is done again on a moved head


def test_a_phase_that_is_applied_again_on_a_moved_head_is_at_the_gate():
    run = Scenario().started([{"phase_id": p, "depends_on": []} for p in ("P1", "P2")])
    for number, phase_id in ((1, "P1"), (2, "P2")):
        run.built(phase_id)
        run.applied(number, phase_id)
    run.green("P1")
    run.landed("P1")
    assert run.phase("P2").state is PhaseState.CI_RUNNING
    run.green("P2")
    assert isinstance(run.asked("P2"), ApplyRequested)
    assert (run.phase("P2").state, run.run.shown_state) == (PhaseState.GATE, RunState.GATE)


def test_a_phase_that_is_audited_again_on_a_moved_head_is_at_the_gate():
    run = Scenario().started(ONE_AUDITED)
    run.built("P2")
    run.audited("approve", "P2")
    run.applied(2, "P2")
    run.completed("P1", 1)
    run.green("P2")
    assert isinstance(run.asked("P2"), AuditRequested)
    assert run.phase("P2").state is PhaseState.GATE


def test_a_phase_whose_integration_met_another_head_is_at_the_gate():
    run = Scenario().started()
    run.built()
    run.applied(1)
    run.green()
    run.not_landed(FailureClass.MOVED, head=commit(9))
    assert isinstance(run.asked(), ApplyRequested)
    assert run.phase().state is PhaseState.GATE


def test_what_is_asked_of_an_external_auditor_changes_no_state():
    agents = {"builder": None, "auditor": "external"}
    run = Scenario().started(ONE_AUDITED, agents=agents)
    run.built("P2")
    run.audited("approve", "P2")
    run.applied(2, "P2")
    run.completed("P1", 1)
    run.green("P2")
    assert isinstance(run.asked("P2"), AuditRequested)
    assert run.phase("P2").state is PhaseState.CI_RUNNING
