"""A plan is refused with every fault named, and its order is what people expect."""

from typing import Any

import pytest
from pydantic import ValidationError

from events.decide.verdicts import Reason
from events.plan import MOST_PHASES, RunRequest, dependencies, phases_in_order, plan_faults, tiers_in_order
from support.scenario import Scenario, plan


def places(*phases: dict[str, Any], **changes: Any) -> list[str]:
    return [f.place for f in plan_faults(plan(list(phases), **changes))]


def messages(*phases: dict[str, Any], **changes: Any) -> str:
    return "\n".join(f.message for f in plan_faults(plan(list(phases), **changes)))


def phase(phase_id: str, **fields: Any) -> dict[str, Any]:
    return {"phase_id": phase_id, **fields}


TIERS = [{"tier_id": "T1", "tier_index": 0, "name": "a"}, {"tier_id": "T2", "tier_index": 1, "name": "b"}]


def test_a_good_plan_has_no_fault():
    assert places(phase("P1"), phase("P2", tier_id="T2", depends_on=["P1"])) == []


def test_duplicate_ids_are_named_with_the_place_of_the_second():
    assert places(phase("P1"), phase("P2"), phase("P1")) == ["phases[2].phase_id"]
    assert "'P1' is taken by phases[0]" in messages(phase("P1"), phase("P1"))


def test_two_checks_of_one_name_are_named_with_the_place_of_the_second():
    check = {"name": "tests", "argv": ["true"]}
    twice = {"normal": [check, check], "strict": [{"name": "all", "argv": ["true"]}, check]}
    assert places(phase("P1"), checks=twice) == ["checks.normal[1].name", "checks.strict[1].name"]
    assert messages(phase("P1"), checks={"normal": [check, check]}) == "'tests' is taken by checks.normal[0]"


def test_duplicate_tiers_are_named():
    tiers = [TIERS[0], TIERS[0]]
    assert places(phase("P1"), tiers=tiers) == ["tiers[1].tier_id", "tiers[1].tier_index"]


def test_unknown_tiers_and_phases_are_named():
    found = places(phase("P1", depends_on=["P9"]), phase("P2", tier_id="T9"), tiers=TIERS)
    assert found == ["phases[1].tier_id", "phases[0].depends_on"]


@pytest.mark.parametrize(
    ("phases", "cycle"),
    [
        ([phase("A", depends_on=["A"])], "A -> A"),
        ([phase("A", depends_on=["B"]), phase("B", depends_on=["A"])], "A -> B -> A"),
        ([phase("A", depends_on=["B"]), phase("B")], "A -> B -> A"),
        ([phase("X"), phase("A", depends_on=["C"]), phase("B"), phase("C")], "A -> C -> B -> A"),
    ],
)
def test_a_cycle_is_told_from_end_to_end(phases: list[dict[str, Any]], cycle: str):
    assert f"cycle: {cycle}" in messages(*phases)


def test_a_dependency_that_two_share_is_no_cycle():
    diamond = [phase("A", depends_on=[]), phase("B", depends_on=["A"]), phase("C", depends_on=["A"])]
    assert places(*diamond, phase("D", depends_on=["B", "C"])) == []


def test_a_phase_cannot_depend_on_a_later_tier():
    assert "later tier" in messages(phase("P1", depends_on=["P2"]), phase("P2", tier_id="T2"))


def test_a_single_tier_run_of_several_tiers_must_name_one():
    both = (phase("P1"), phase("P2", tier_id="T2"))
    assert places(*both, run_scope="single_tier") == ["tier"]
    assert "T9" in messages(*both, run_scope="single_tier", tier="T9")
    assert places(*both, run_scope="single_tier", tier="T2") == []


def test_only_a_single_tier_run_names_a_tier():
    assert places(phase("P1"), tier="T1") == ["tier"]


def test_a_phase_of_a_single_tier_run_cannot_depend_on_one_outside():
    found = messages(phase("P1"), phase("P2", tier_id="T2", depends_on=["P1"]), run_scope="single_tier", tier="T2")
    assert "'P1' is not part of this run" in found


def test_a_plan_needs_a_phase_and_a_repository():
    assert messages() == "a plan needs at least one phase"
    assert places(phase("P1"), repository=None) == ["repository"]
    assert "no phase belongs to tier 'T2'" in messages(
        phase("P1"), tiers=TIERS, run_scope="single_tier", tier="T2"
    )


def test_an_external_run_needs_neither():
    assert places(repository=None, agents={"builder": "external"}) == []


def test_a_plan_whose_phases_do_not_fit_into_a_step_is_refused():
    phases = [phase(f"P{n}", depends_on=[]) for n in range(MOST_PHASES + 1)]
    assert places(*phases) == ["phases"]
    assert "split the plan" in messages(*phases)


def test_the_largest_plan_is_decided_in_one_step():
    phases = [phase(f"P{n}", depends_on=[]) for n in range(MOST_PHASES)]
    run = Scenario().started(phases, max_phases=None)
    assert len(run.run.open) == MOST_PHASES


def test_a_long_chain_is_looked_through_without_recursion():
    assert places(*(phase(f"P{n}") for n in range(MOST_PHASES))) == []


def test_a_plan_refused_by_the_decider_names_its_faults():
    rejection = Scenario().refused(plan([phase("P1"), phase("P1")]))
    assert rejection.reason is Reason.INVALID_PLAN
    assert rejection.message == rejection.faults[0].message


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "red"},
        {"phases": [{"phase_id": "P1", "tier_id": "T1", "phase_index": 0, "name": "n", "colour": "red"}]},
        {"run_id": "../x"},
        {"run_id": "a..b"},
        {"run_id": "a.lock"},
        {"run_id": "a."},
        {"run_id": "-a"},
        {"run_id": "a b"},
        {"run_id": "a\n"},
        {"run_id": "a" * 101},
        {"run_id": ""},
        {"token_cap": -1},
        {"token_cap": 2**53},
        {"max_duration_minutes": 0},
        {"max_duration_minutes": float("nan")},
        {"checks": "some"},
        {"checks": {"normal": [{"name": "tests", "argv": []}]}},
        {"tiers": [{"tier_id": "a\x00b", "tier_index": 0, "name": "n"}]},
    ],
)
def test_what_is_not_well_typed_is_refused(wrong: dict[str, Any]):
    body = {**plan().model_dump(mode="json"), **wrong}
    with pytest.raises(ValidationError):
        RunRequest.model_validate(body)


def test_phases_are_ordered_by_tier_then_index_then_as_written():
    phases = [
        phase("D", tier_id="T2", phase_index=0),
        phase("B", phase_index=1),
        phase("A", phase_index=0),
        phase("C", phase_index=1),
    ]
    request = plan(phases, tiers=list(reversed(TIERS)))
    assert [t.tier_id for t in tiers_in_order(request)] == ["T1", "T2"]
    assert [p.phase_id for p in phases_in_order(request)] == ["A", "B", "C", "D"]
    assert dependencies(request) == {"A": (), "B": ("A",), "C": ("B",), "D": ()}


def test_an_unknown_tier_is_one_fault():
    assert places(phase("P1", tier_id="T9"), tiers=[TIERS[0]]) == ["phases[0].tier_id"]
