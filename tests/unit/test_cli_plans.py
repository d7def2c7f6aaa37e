"""Plan files: read in three notations, every fault with its place, options over them."""

import json
from pathlib import Path

import pytest
import yaml

from events.plan import RunRequest
from services.cli.checking import as_text, check_plan
from services.cli.failures import PlanInvalid, WrongUsage
from services.cli.plan_files import read_plan
from services.cli.run_requests import Overrides, run_request

PLAN = {
    "run_id": "r1",
    "repository": "/srv/git/shop.git",
    "checks": {"normal": [{"name": "tests", "argv": ["make", "test"]}]},
    "tiers": [{"tier_id": "T1", "tier_index": 0, "name": "Cart"}],
    "phases": [{"phase_id": "P1", "tier_id": "T1", "phase_index": 0, "name": "Totals"}],
}
TOML = """\
run_id = "r1"
repository = "/srv/git/shop.git"

[[checks.normal]]
name = "tests"
argv = ["make", "test"]

[[tiers]]
tier_id = "T1"
tier_index = 0
name = "Cart"

[[phases]]
phase_id = "P1"
tier_id = "T1"
phase_index = 0
name = "Totals"
"""
MERGES_OF_MERGES = "m0: &m0 {x: 1}\n" + "".join(
    f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 10)}]}}\n" for i in range(1, 20)
)
FIRST_VERSION = {
    "run": {"run_id": "old", "safety_profile": "normal", "run_scope": "incremental", "token_cap": "1000", "x": 1},
    "tiers": [{"tier_id": "T1", "tier_index": 0, "name": "Cart", "colour": "red"}],
    "phases": [
        {"phase_id": "P1", "tier_id": "T1", "phase_index": 0, "name": "Totals", "complexity": "huge", "y": 2}
    ],
}


def written(folder: Path, name: str, text: str) -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


def request_of(name: str, overrides: Overrides | None = None) -> RunRequest:
    return run_request(read_plan(name), overrides or Overrides(), repository_needed=True)


def faults_of(name: str, overrides: Overrides | None = None) -> dict[str, str]:
    with pytest.raises(PlanInvalid) as caught:
        request_of(name, overrides)
    return {fault.place.removeprefix(name): fault.message for fault in caught.value.faults}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plan.json", json.dumps(PLAN)),
        ("plan.toml", TOML),
        ("plan.yaml", yaml.safe_dump(PLAN)),
        ("plan", json.dumps(PLAN)),
        ("plan.txt", TOML),
        ("PLAN", yaml.safe_dump(PLAN)),
    ],
)
def test_a_plan_says_the_same_in_every_notation(tmp_path: Path, name: str, text: str) -> None:
    assert request_of(written(tmp_path, name, text)) == RunRequest.model_validate(PLAN)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("plan.json", '{"run_id":\n "r1",}', "2: not JSON"),
        ("plan.json", '{"run_id": "r1", "run_id": "r2"}', "given twice"),
        ("plan.toml", "run_id = \n", "not TOML"),
        ("plan.yaml", "run_id: [1\nphases: 2", "2: not YAML"),
        ("plan.yaml", "- 1", "a list"),
        ("plan.json", "", "not JSON"),
        ("plan.yaml", "", "nothing"),
        ("plan.json", "[" * 100_000, "not JSON"),
        ("plan.toml", f"token_cap = {'9' * 5000}", "not TOML"),
        ("plan.yaml", "run_id: r1\nproject: shop\nrun_id: r2", "3: not YAML: the key 'run_id' is given twice"),
        ("plan.yaml", MERGES_OF_MERGES, "not YAML: more than 10000 keys"),
    ],
)
def test_what_is_no_plan_is_told_with_its_line(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(PlanInvalid, match=told):
        read_plan(written(tmp_path, name, text))


def test_what_yaml_merges_is_no_key_given_twice(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, x: 3}\nd: {<<: [*b, *a]}\n"
    document = read_plan(written(tmp_path, "plan.yaml", text)).document
    assert document["c"] == {"x": 3, "y": 1}
    assert document["d"] == {"x": 2, "y": 1}


def test_a_plan_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="No such file"):
        read_plan(str(tmp_path / "none.json"))


@pytest.mark.parametrize("notation", ["json", "yaml"])
def test_every_fault_is_told_with_its_place_and_line(tmp_path: Path, notation: str) -> None:
    phases = [{**PLAN["phases"][0], "scpe": ["a"], "phase_id": "a..b"}, {"phase_id": "P2"}]
    document = {**PLAN, "phases": phases, "token_cap": -1}
    text = json.dumps(document, indent=1) if notation == "json" else yaml.safe_dump(document)
    name = written(tmp_path, f"plan.{notation}", text)
    faults = faults_of(name)
    paths = {place.rsplit(": ", 1)[1]: message for place, message in faults.items()}
    assert paths["phases[0].scpe"] == "unknown key"
    assert ".." in paths["phases[0].phase_id"]
    assert paths["phases[1].name"] == "Field required"
    assert "token_cap" in paths
    line = next(number for number, line in enumerate(text.splitlines(), start=1) if "scpe" in line)
    assert f":{line}: phases[0].scpe" in faults


def test_the_line_of_a_fault_in_toml_is_told(tmp_path: Path) -> None:
    name = written(tmp_path, "plan.toml", TOML.replace('name = "Totals"', 'nam = "Totals"'))
    faults = faults_of(name)
    assert faults[":17: phases[0].nam"] == "unknown key"
    assert faults[":13: phases[0].name"] == "Field required"


def test_contradictions_are_all_told(tmp_path: Path) -> None:
    phases = [
        {"phase_id": "P1", "tier_id": "T9", "phase_index": 0, "name": "a", "depends_on": ["P7"]},
        {"phase_id": "P1", "tier_id": "T1", "phase_index": 1, "name": "b"},
    ]
    faults = faults_of(written(tmp_path, "plan.json", json.dumps({**PLAN, "phases": phases})))
    paths = {place.rsplit(": ", 1)[1]: message for place, message in faults.items()}
    assert paths["phases[0].tier_id"] == "unknown tier 'T9'"
    assert paths["phases[0].depends_on"] == "unknown phase 'P7'"
    assert "is taken by phases[0]" in paths["phases[1].phase_id"]


def test_a_cycle_is_told(tmp_path: Path) -> None:
    phases = [
        {"phase_id": "P2", "tier_id": "T1", "phase_index": 0, "name": "c", "depends_on": ["P3"]},
        {"phase_id": "P3", "tier_id": "T1", "phase_index": 1, "name": "d", "depends_on": ["P2"]},
    ]
    faults = faults_of(written(tmp_path, "plan.json", json.dumps({**PLAN, "phases": phases})))
    assert "cycle: P2 -> P3 -> P2" in faults.values()


def test_a_fault_in_the_checks_is_told_once_and_in_plain_words(tmp_path: Path) -> None:
    name = written(tmp_path, "plan.json", json.dumps({**PLAN, "checks": {"normal": [{"name": "t", "argv": []}]}}))
    assert [place.rsplit(": ", 1)[1] for place in faults_of(name)] == ["checks.normal[0].argv"]


def test_options_beat_the_plan(tmp_path: Path) -> None:
    name = written(tmp_path, "plan.json", json.dumps(PLAN))
    overrides = Overrides(
        repository="/elsewhere",
        base="next",
        run_id="r2",
        tier="T1",
        safety_profile="safety_critical",
        builder="b",
        checks=("make 'more tests'",),
        token_cap=5,
        max_cost_usd=1.5,
        max_duration_minutes=3,
    )
    request = request_of(name, overrides)
    assert (request.repository, request.base, request.run_id) == ("/elsewhere", "next", "r2")
    assert (request.run_scope, request.tier, request.agents.builder) == ("single_tier", "T1", "b")
    assert (request.token_cap, request.max_cost_usd, request.max_duration_minutes) == (5, 1.5, 3)
    assert request.checks != "none"
    assert request.checks is not None
    assert [check.argv for check in request.checks.normal] == [("make", "test"), ("make", "more tests")]


def test_a_check_on_the_command_line_takes_back_that_there_are_none(tmp_path: Path) -> None:
    name = written(tmp_path, "plan.json", json.dumps({**PLAN, "checks": "none"}))
    request = request_of(name, Overrides(checks=("true",)))
    assert request.checks != "none"


@pytest.mark.parametrize("command", ["'", ""])
def test_a_check_that_is_no_command_is_wrong_usage(tmp_path: Path, command: str) -> None:
    with pytest.raises(WrongUsage):
        request_of(written(tmp_path, "plan.json", json.dumps(PLAN)), Overrides(checks=(command,)))


def test_the_first_version_s_body_is_read_as_laxly_as_it_was(tmp_path: Path) -> None:
    request = request_of(written(tmp_path, "plan.json", json.dumps(FIRST_VERSION)))
    assert (request.run_id, request.run_scope, request.token_cap) == ("old", "multi_tier", 1000)
    assert (request.checks, request.agents.builder, request.agents.auditor) == ("none", "external", "external")
    assert request.phases[0].complexity is None


def test_a_plan_that_no_event_could_hold_is_told_with_its_place(tmp_path: Path) -> None:
    large = {**PLAN["phases"][0], "description": "漢" * 14_000}
    name = written(tmp_path, "plan.json", json.dumps({**PLAN, "phases": [large]}, indent=1))
    ((place, message),) = faults_of(name).items()
    assert place.startswith(":")
    assert "bytes of an event" in message


def test_a_repository_may_be_left_to_somebody_else(tmp_path: Path) -> None:
    bare = {key: value for key, value in PLAN.items() if key != "repository"}
    plan = read_plan(written(tmp_path, "plan.json", json.dumps(bare)))
    assert run_request(plan, Overrides(), repository_needed=False).repository is None
    with pytest.raises(PlanInvalid, match="repository: needed"):
        run_request(plan, Overrides(), repository_needed=True)


def test_a_checked_plan_shows_the_strategy_that_it_would_freeze(tmp_path: Path) -> None:
    phases = [
        {**PLAN["phases"][0], "task_category": "schema_change"},
        {"phase_id": "P2", "tier_id": "T1", "phase_index": 1, "name": "b"},
    ]
    name = written(tmp_path, "plan.json", json.dumps({**PLAN, "phases": phases}))
    plan = read_plan(name)
    checked = check_plan(plan, run_request(plan, Overrides(), repository_needed=False))
    first, second = checked.strategy.phases
    assert (first.category, first.ci_profile, first.audit_required) == ("schema_contract_change", "strict", True)
    assert (second.category, second.ci_profile, second.audit_required) == ("other", "normal", False)
    assert not checked.configured


@pytest.mark.parametrize(("most", "is_told"), [(None, False), (2, False), (1, True)])
def test_a_plan_of_more_phases_than_its_run_may_begin_is_told_so(
    tmp_path: Path, most: int | None, is_told: bool
) -> None:
    phases = [{**PLAN["phases"][0], "phase_id": name, "phase_index": n} for n, name in enumerate(("P1", "P2"))]
    body = {**PLAN, "phases": phases, "max_phases": most}
    plan = read_plan(written(tmp_path, "plan.json", json.dumps(body)))
    shown = as_text(check_plan(plan, run_request(plan, Overrides(), repository_needed=False)))
    assert any("raise max_phases" in line for line in shown if isinstance(line, str)) is is_told


def test_unknown_keys_do_not_hide_what_else_is_wrong(tmp_path: Path) -> None:
    phase = {**PLAN["phases"][0], "colour": "red", "depends_on": ["P1"]}
    faults = faults_of(written(tmp_path, "plan.json", json.dumps({**PLAN, "phases": [phase]})))
    assert "unknown key" in faults.values()
    assert any("P1" in message or "itself" in message for message in faults.values()), faults


def test_a_key_that_json_gives_twice_is_told_with_its_line(tmp_path: Path) -> None:
    name = written(tmp_path, "plan.json", '{"run_id": "r1",\n "run_id": "r2"}')
    with pytest.raises(PlanInvalid) as caught:
        read_plan(name)
    (fault,) = caught.value.faults
    assert fault.place == f"{name}:2"
    assert "the key 'run_id' is given twice (column 2)" in fault.message
