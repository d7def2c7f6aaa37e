"""Attempts: how many, what the next one is told, and when an auditor has a say."""

import pytest

from events.configuration import Configuration
from events.families.apply import ApplyRequested
from events.families.audit import AuditRequested
from events.families.base import Concern
from events.families.build import BuildRequested
from events.families.failure import FailureClass
from events.families.phase import PhaseCompleted, PhaseFailed, PhaseFailure
from events.families.time import DeadlineKind
from events.families.verify import ChecksRequested
from events.states import RunState
from support.scenario import BASE, MENDED, PATCH, Scenario

CATEGORIES = {
    "feature_scaffolding": (3, 2, False, "normal", None),
    "docs": (2, 1, False, "normal", None),
    "tests": (3, 1, False, "normal", None),
    "debt_cleanup": (2, 1, True, "normal", "debt_cleanup_review"),
    "cross_cutting_refactor": (2, 2, True, "strict", "refactor_review"),
    "index_registry_change": (2, 2, True, "strict", "index_review"),
    "schema_contract_change": (2, 3, True, "strict", "schema_review"),
    "bulk_multi_file_operation": (1, 2, True, "strict", "bulk_review"),
    "security_auth_change": (2, 3, True, "strict", "security_review"),
    "schema_change": (2, 3, True, "strict", "schema_review"),
    "security_auth": (2, 3, True, "strict", "security_review"),
    "bulk_operation": (1, 2, True, "strict", "bulk_review"),
    "index_registry_maintenance": (2, 2, True, "strict", "index_review"),
    "orchestrator": (2, 2, True, "strict", "orchestrator_review"),
    "whatever somebody writes": (3, 2, False, "normal", None),
    None: (3, 2, False, "normal", None),
}


def phase_of(category: str | None) -> list[dict[str, object]]:
    return [{"phase_id": "P1", "task_category": category}]


def test_a_phase_goes_from_its_request_to_its_snapshot():
    run = Scenario().started()
    assert run.claimed() == ["WorkStarted"]
    assert run.built() == ["BuildSucceeded", "ApplyRequested"]
    assert run.applied(1) == ["PatchAccepted", "ChecksRequested"]
    assert run.green() == ["ChecksPassed", "IntegrationRequested"]
    assert run.landed() == ["SnapshotCreated", "PhaseCompleted", "TierCompleted", "RunCompleted"]
    run.ended_as(RunState.DONE_SUCCESS)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_category_has_as_many_builder_attempts_as_the_rulebook_says(category: str | None):
    attempts = CATEGORIES[category][0]
    run = Scenario().started(phase_of(category))
    for _ in range(attempts):
        run.not_built()
    assert [b.attempt for b in run.written(BuildRequested)] == list(range(1, attempts + 1))
    assert run.last(PhaseFailed).attempts == attempts
    run.ended_as(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW)


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_audit_comes_first_exactly_where_the_category_demands_it(category: str | None):
    _, _, required, _, profile = CATEGORIES[category]
    run = Scenario().started(phase_of(category))
    assert run.built()[-1] == ("AuditRequested" if required else "ApplyRequested")
    if required:
        asked = run.asked()
        assert (asked.auditor_profile, asked.base_commit, asked.patches) == (profile, BASE, (PATCH,))
        assert (f"{asked.focus}_review", asked.context) == (profile, "")


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_category_has_the_checks_of_its_profile(category: str | None):
    run = Scenario().started(phase_of(category))
    if run.built()[-1] == "AuditRequested":
        run.audited("approve")
    run.applied(1)
    asked: ChecksRequested = run.asked()
    assert asked.profile == CATEGORIES[category][3]
    assert [c.name for c in asked.checks] == (["tests", "all"] if asked.profile == "strict" else ["tests"])


@pytest.mark.parametrize("category", [c for c, row in CATEGORIES.items() if row[2]])
def test_with_no_audit_left_what_is_not_approved_counts_as_revise(category: str | None):
    builds, audits, *_ = CATEGORIES[category]
    run = Scenario().started(phase_of(category))
    for _ in range(builds):
        run.built()
        for _ in range(audits):
            run.not_audited()
    assert [a.audit for a in run.written(AuditRequested)] == list(range(1, audits + 1)) * builds
    assert run.written(ApplyRequested) == []
    run.ended_as(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW)


def test_the_next_attempt_is_told_that_its_patch_was_never_approved():
    run = Scenario().started(phase_of("debt_cleanup"))
    run.built()
    run.not_audited()
    assert [f.stage for f in run.asked().feedback] == ["audit"]
    assert "not approved" in run.asked().feedback[0].summary


def test_revise_goes_back_to_the_builder_with_the_findings():
    run = Scenario().started(phase_of("security_auth"))
    run.built()
    names = run.audited("revise", findings=[{"severity": "major", "message": "a hole"}])
    assert names == ["AuditCompleted", "BuildRequested"]
    assert run.asked().attempt == 2
    assert run.asked().feedback[0].findings[0].message == "a hole"


def test_an_auditor_is_told_why_earlier_attempts_failed_the_latest_first():
    ruleset = {"categories": {"security_auth_change": {"builder_attempts": 3}}}
    run = Scenario().started(phase_of("security_auth"), Configuration.model_validate({"ruleset": ruleset}))
    run.not_built(reason="it broke")
    run.built()
    found = [{"severity": "major", "path": "src/door.py", "message": "a hole"}, {"message": "a blank"}]
    run.audited("revise", findings=found)
    run.built()
    lines = run.asked().context.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "Attempt 2 failed at audit",
        "  major in src/door.py",
        "  minor",
        "Attempt 1 failed at build",
    ]
    assert lines[1].endswith(": a hole")
    assert lines[3].endswith(": it broke")


def test_an_auditors_patch_is_audited_again_before_it_is_applied():
    run = Scenario().started(phase_of("security_auth"))
    run.built()
    assert run.audited("revise", "P1", MENDED) == ["AuditCompleted", "AuditRequested"]
    assert (run.asked().audit, run.asked().patches) == (2, (PATCH, MENDED))
    assert run.audited("approve") == ["AuditCompleted", "ApplyRequested"]
    assert run.asked().patches == (PATCH, MENDED)


def test_an_auditors_patch_uses_up_the_audits_of_the_attempt():
    run = Scenario().started(phase_of("debt_cleanup"))
    run.built()
    assert run.audited("revise", "P1", MENDED) == ["AuditCompleted", "BuildRequested"]
    assert run.asked().attempt == 2


def test_a_patch_with_concerns_is_audited_before_any_check_runs():
    run = Scenario().started()
    run.built()
    concern = Concern(kind="tests_removed", path="tests/test_a.py")
    assert run.applied(1, concerns=[concern]) == ["PatchAccepted", "AuditRequested"]
    assert run.asked().concerns == (concern,)
    assert run.audited("approve") == ["AuditCompleted", "ChecksRequested"]


def test_an_auditor_can_mend_what_raised_concerns_by_the_governed_path():
    run = Scenario().started()
    run.built()
    run.applied(1, concerns=[Concern(kind="tests_removed")])
    assert run.audited("revise", "P1", MENDED) == ["AuditCompleted", "ApplyRequested"]
    assert run.asked().patches == (PATCH, MENDED)
    assert run.applied(2) == ["PatchAccepted", "ChecksRequested"]


def test_a_builder_in_doubt_brings_in_the_auditor_whatever_the_category():
    run = Scenario().started()
    assert run.built(needs_review=True) == ["BuildSucceeded", "AuditRequested"]
    assert run.audited("approve") == ["AuditCompleted", "ApplyRequested"]


def test_the_doubt_of_one_attempt_does_not_cling_to_the_next():
    run = Scenario().started()
    run.built(needs_review=True)
    run.audited("revise")
    assert run.built() == ["BuildSucceeded", "ApplyRequested"]


def test_escalate_ends_phase_and_run_whatever_attempts_are_left():
    run = Scenario().started(phase_of("security_auth"))
    run.built()
    run.audited("escalate", findings=[{"message": "a person must look"}])
    failed = run.last(PhaseFailed)
    assert failed.cause is PhaseFailure.ESCALATED
    terminal = run.ended_as(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW)
    assert "a person must look" in terminal.reason


def test_a_failed_audit_is_no_approval_and_another_follows():
    run = Scenario().started(phase_of("security_auth"))
    run.built()
    assert run.not_audited() == ["AuditFailed", "AuditRequested"]
    assert run.asked().audit == 2


def test_an_audit_out_of_time_is_no_approval_and_another_follows():
    run = Scenario().started(phase_of("security_auth"))
    run.built()
    run.claimed()
    assert run.passed(DeadlineKind.REQUEST) == ["DeadlinePassed", "WorkRevoked", "AuditRequested"]
    assert run.asked().audit == 2


def test_red_checks_are_handed_to_the_next_attempt():
    run = Scenario().started()
    run.built()
    run.applied(1)
    checks = [{"name": "tests", "outcome": "failed", "output": "1 != 2"}, {"name": "lint", "outcome": "passed"}]
    assert run.red(checks=checks) == ["ChecksFailed", "BuildRequested"]
    told = run.asked().feedback[0]
    assert (told.stage, told.attempt) == ("checks", 1)
    assert [(c.name, c.output) for c in told.checks] == [("tests", "1 != 2")]


def test_violations_are_handed_to_the_next_attempt():
    run = Scenario().started()
    run.built()
    violations = [{"rule": "protected", "path": ".github/workflows/ci.yml"}, {"rule": "symlink", "path": "out"}]
    assert run.not_applied(FailureClass.VIOLATIONS, violations=violations)[-1] == "BuildRequested"
    assert [v.rule for v in run.asked().feedback[0].violations] == ["protected", "symlink"]


def test_what_a_later_attempt_mended_does_not_stand_in_the_way_of_success():
    run = Scenario().started()
    run.built()
    run.not_applied(FailureClass.VIOLATIONS)
    run.built()
    run.applied(2)
    run.red()
    run.completed("P1", 3)
    run.ended_as(RunState.DONE_SUCCESS)
    assert run.last(PhaseCompleted).attempts == 3


def test_every_earlier_failure_is_told_to_the_last_attempt():
    run = Scenario().started()
    run.not_built()
    run.built()
    run.not_applied(FailureClass.CONFLICT)
    assert [(f.attempt, f.stage) for f in run.asked().feedback] == [(1, "build"), (2, "apply")]


def test_feedback_stays_within_what_an_event_may_weigh():
    findings = [{"message": "m" * 4000, "path": "p" * 4000} for _ in range(7)]
    run = Scenario().started(phase_of("security_auth"))
    run.built()
    run.audited("revise", findings=findings)
    feedback = run.asked().feedback
    assert sum(len(f.model_dump_json()) for f in feedback) < 48 * 1024
    assert feedback[-1].findings[0].message.startswith("mmm")


def test_the_newest_feedback_is_kept_when_not_all_of_it_fits():
    run = Scenario().started(phase_of("schema_change"))
    for attempt in (1, 2):
        run.built()
        for number in (1, 2, 3):
            failure = {"reason": f"{attempt}.{number} " + "x" * 3990}
            run.not_audited(**failure)
    summaries = [
        f.split(":", 1)[1] for f in run.ended_as(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW).incident.details
    ]
    assert summaries, "nothing is left to read"


def test_an_unchecked_run_integrates_at_once_and_says_so():
    run = Scenario().started(checks="none")
    run.built()
    assert run.applied(1) == ["PatchAccepted", "IntegrationRequested"]
    assert run.asked().unchecked
    run.landed()
    run.ended_as(RunState.DONE_SUCCESS)


def test_the_checks_are_told_how_the_candidate_is_made_again():
    run = Scenario().started()
    run.built()
    request = run.open("P1")
    run.applied(1)
    origin = run.asked().origin
    assert (origin.request_id, origin.parent, origin.patches) == (request.id, BASE, (PATCH,))
