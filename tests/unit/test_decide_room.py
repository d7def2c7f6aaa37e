"""Every event fits into 64 KiB as it is written: what comes up on the way is cut, what cannot fit is refused."""

from typing import Any

import pytest

from events.configuration import Configuration
from events.decide.verdicts import Reason, Rejection
from events.evolve.answers import MOST_PATCHES
from events.families.audit import AuditCompleted
from events.families.build import BuildSucceeded
from events.families.failure import FailureClass
from events.families.run import RunPrepared
from events.families.sizes import clipped, first, last, size_bytes
from events.states import RunState
from support.scenario import PATCH, Scenario, plan

LONGEST_DESCRIPTION = 20_000
WIDE = ["ä", "漢", "😀", "\x01", '"', "\\", "\n"]


def described(text: str, category: str = "docs") -> list[dict[str, Any]]:
    return [{"phase_id": "P1", "description": text, "task_category": category}]


def test_the_longest_description_and_the_longest_reasons_fit_into_one_request():
    run = Scenario().started(described("d" * LONGEST_DESCRIPTION, "tests"))
    for _ in range(2):
        run.not_built(reason="r" * 4000)
    run.not_built(reason="the last one " + "\x01" * 3900)
    assert run.oversized() == []


def test_a_wide_description_leaves_less_room_for_feedback_and_the_latest_is_always_told():
    run = Scenario().started(described("漢" * 13_000))
    run.built()
    violations = [{"rule": "scope", "path": "漢" * 1000, "message": "m" * 1000} for _ in range(8)]
    run.not_applied(FailureClass.VIOLATIONS, reason="\x01" * 4000, violations=violations)
    (latest,) = run.asked().feedback
    assert (latest.stage, len(latest.violations)) == ("apply", 3)
    assert latest.summary.endswith("…")
    assert run.oversized() == []


@pytest.mark.parametrize("letter", ["r", *WIDE])
def test_what_an_auditor_is_told_of_earlier_attempts_fits_beside_the_phase(letter: str):
    many = Configuration.model_validate(
        {"ruleset": {"categories": {"schema_contract_change": {"builder_attempts": 5}}}}
    )
    run = Scenario().started(described("d" * LONGEST_DESCRIPTION, "schema_change"), many)
    for number in range(1, 5):
        run.not_built(reason=f"{number} " + letter * 3900)
    run.built(files=[f"{number}/{'漢' * 500}" for number in range(20)])
    assert run.asked().context.startswith("Attempt 4 failed at build: 4 ")
    assert size_bytes(run.asked().context) <= 8 * 1024
    assert run.oversized() == []


def test_feedback_that_does_not_fit_beside_the_phase_loses_its_oldest():
    phases = described("d" * LONGEST_DESCRIPTION, "schema_change")
    many = Configuration.model_validate(
        {"ruleset": {"categories": {"schema_contract_change": {"builder_attempts": 20}}}}
    )
    run = Scenario().started(phases, many)
    for number in range(1, 20):
        run.not_built(reason=f"{number} " + "r" * 3900)
    attempts = [told.attempt for told in run.asked().feedback]
    assert attempts == list(range(attempts[0], 20))
    assert attempts[0] > 1
    assert run.oversized() == []


@pytest.mark.parametrize("letter", ["漢", "😀", "\x01"])
def test_a_phase_that_no_event_could_hold_is_refused_by_its_place(letter: str):
    refused = Scenario().refused(plan([{"phase_id": "P0"}, *described(letter * LONGEST_DESCRIPTION)]))
    assert (refused.reason, [f.place for f in refused.faults]) == (Reason.INVALID_PLAN, ["phases[1]"])
    assert "40960 at most" in refused.message


@pytest.mark.parametrize("letter", ["ä", '"', "\n"])
def test_letters_of_two_bytes_may_fill_the_longest_description(letter: str):
    run = Scenario().started(described(letter * LONGEST_DESCRIPTION))
    run.not_built(reason="r" * 4000)
    assert run.asked().feedback[0].summary == "r" * 4000
    assert run.oversized() == []


def test_phases_whose_strategy_no_event_could_hold_are_refused():
    phases = [{"phase_id": f"P{n}", "task_category": "c" * 1000} for n in range(60)]
    refused = Scenario().refused(plan(phases))
    assert [fault.place for fault in refused.faults] == ["phases"]
    assert "split the plan" in refused.message


def test_two_hundred_checks_are_accepted_and_those_whose_results_no_event_could_name_are_refused():
    def checks(count: int) -> list[dict[str, Any]]:
        return [{"name": f"check-{number}", "argv": ["true"]} for number in range(count)]

    run = Scenario().started(described("d"), checks={"normal": checks(200), "strict": []})
    assert run.oversized() == []
    refused = Scenario().refused(plan(described("d"), checks={"normal": checks(350), "strict": []}))
    assert (refused.reason, [fault.place for fault in refused.faults]) == (Reason.INVALID_PLAN, ["checks"])
    assert "the results of 350 take" in refused.message
    run = Scenario()
    run.say(plan(described("d"), checks={"normal": checks(200), "strict": []}))
    own = {"normal": [{**one, "name": f"own-{one['name']}"} for one in checks(150)]}
    run.prepared(configuration=Configuration.model_validate({"checks": own}))
    ended = run.ended_as(RunState.DONE_FAILED_ENVIRONMENT)
    assert (ended.incident.failure, ended.reason[:7]) == (FailureClass.CONFIGURATION, "checks:")


def test_a_configuration_that_leaves_no_room_for_a_phase_ends_the_run_with_its_place():
    protected = {"policy": {"protected": ["x" * 4000] * 11}}
    run = Scenario()
    run.say(plan(described("d" * LONGEST_DESCRIPTION)))
    run.prepared(configuration=Configuration.model_validate(protected))
    ended = run.ended_as(RunState.DONE_FAILED_ENVIRONMENT)
    assert (ended.incident.failure, ended.reason[:10]) == (FailureClass.CONFIGURATION, "phases[0]:")


def test_an_answer_that_is_larger_than_an_event_may_be_is_refused():
    run = Scenario().started()
    files = [f"{number:04}" * 20 for number in range(800)]
    refused = run.submit(run.event(run.answer(BuildSucceeded, patch=PATCH, files=files)))
    assert isinstance(refused, Rejection)
    assert refused.reason is Reason.TOO_LARGE
    assert run.open("P1").stands
    huge = Configuration.model_validate({"policy": {"protected": ["x" * 4000] * 20}})
    other = Scenario()
    other.say(plan())
    refused = other.refused(RunPrepared(request_id=other.open(None).id, base_commit="b" * 40, configuration=huge))
    assert refused.reason is Reason.TOO_LARGE


def test_an_audit_is_asked_for_with_as_many_concerns_and_probes_as_fit():
    run = Scenario().started(described("d" * LONGEST_DESCRIPTION, "security_auth"))
    run.built(probes=[{"name": "p" * 400, "output": "o" * 2000}] * 20)
    assert 0 < len(run.asked().probes) < 20
    run.audited("approve")
    run.applied(1, concerns=[{"kind": "tests_weakened", "message": "m" * 4000}] * 12)
    assert run.oversized() == []


def test_patches_without_number_are_a_revision_like_any_other():
    run = Scenario().started(described("change it", "security_auth"))
    run.built()
    run.say(run.answer(AuditCompleted, recommendation="revise", confidence=1, suggested_patches=[PATCH] * 50))
    assert len(run.asked().patches) == 51
    run.say(
        run.answer(AuditCompleted, recommendation="revise", confidence=1, suggested_patches=[PATCH] * MOST_PATCHES)
    )
    assert run.asked().attempt == 2
    assert run.oversized() == []


def test_a_failed_run_tells_of_the_last_attempts_as_far_as_there_is_room():
    run = Scenario().started(described("d", "schema_change"))
    for _ in range(2):
        run.built()
        for _ in range(3):
            run.not_audited(reason="\x01" * 3000)
    ended = run.ended_as(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW)
    assert ended.incident.details
    assert run.oversized() == []


@pytest.mark.parametrize("letter", [*WIDE, "a"])
@pytest.mark.parametrize("limit_bytes", [5, 17, 1000])
def test_a_clipped_text_is_not_larger_than_it_may_be(letter: str, limit_bytes: int):
    cut = clipped(letter * 2000, limit_bytes)
    assert size_bytes(cut) <= limit_bytes
    assert cut.endswith("…")
    assert clipped("ab", limit_bytes) == "ab"


def test_values_are_kept_from_one_end_as_long_as_they_fit():
    assert first(("aa", "bb", "cc"), 10) == ("aa", "bb")
    assert last(("aa", "bb", "cc"), 10) == ("bb", "cc")
    assert first(("aa",), 0) == last(("aa",), -1) == ()
