"""The strategy that a run freezes: the rulebook's numbers, with the project's own over them."""

from typing import Any

import pytest

from events.configuration import Configuration, ConfigurationInvalid, parse_configuration
from events.families.run import PhaseStrategy, Strategy
from events.playbook import CATEGORIES, NoChecks, category_name, checks_of, compile_strategy
from support.scenario import CHECKS, plan

TABLE = """
feature_scaffolding       | medium | normal | 3 | 2 | 500000  | 2.0 | yes | -                   | minor
docs                      | low    | normal | 2 | 1 | 200000  | 2.0 | yes | -                   | minor
tests                     | low    | normal | 3 | 1 | 300000  | 2.0 | yes | -                   | minor
debt_cleanup              | medium | normal | 2 | 1 | 400000  | 2.0 | no  | debt_cleanup_review | minor
cross_cutting_refactor    | high   | strict | 2 | 2 | 1000000 | 1.0 | no  | refactor_review     | major
index_registry_change     | high   | strict | 2 | 2 | 800000  | 1.0 | no  | index_review        | major
schema_contract_change    | high   | strict | 2 | 3 | 1000000 | 1.0 | no  | schema_review       | major
bulk_multi_file_operation | high   | strict | 1 | 2 | 1500000 | 1.0 | no  | bulk_review         | major
security_auth_change      | high   | strict | 2 | 3 | 800000  | 0.5 | no  | security_review     | major
any other                 | medium | normal | 3 | 2 | 500000  | 2.0 | yes | -                   | minor
orchestrator              | high   | strict | 2 | 2 | 1000000 | 1.0 | no  | orchestrator_review | major
"""
ROWS = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]


def strategy(
    phase: dict[str, Any] | None = None, configuration: dict[str, Any] | None = None, **changes: Any
) -> Strategy:
    request = plan([{"phase_id": "P1", **(phase or {})}], **changes)
    return compile_strategy(request, Configuration.model_validate(configuration or {}))


def rules(phase: dict[str, Any] | None = None, **changes: Any) -> PhaseStrategy:
    return strategy(phase, **changes).phases[0]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_category_has_the_numbers_of_its_row(row: list[str]):
    found = rules({"task_category": row[0]})
    assert [
        found.complexity,
        found.ci_profile,
        str(found.builder_attempts),
        str(found.auditor_attempts),
        str(found.incident_token_cap),
        str(found.minor_issues_limit),
        "no" if found.audit_required else "yes",
        found.auditor_profile or "-",
        found.severity,
    ] == row[1:]


def test_the_table_here_has_every_row_of_the_code():
    assert {row[0] for row in ROWS} == {*CATEGORIES, "any other"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("schema_change", "schema_contract_change"),
        ("security_auth", "security_auth_change"),
        ("bulk_operation", "bulk_multi_file_operation"),
        ("index_registry_maintenance", "index_registry_change"),
        ("free text", "free text"),
        (None, "other"),
    ],
)
def test_aliases_lead_to_the_rows_that_they_mean(written: str | None, meant: str):
    assert category_name(written) == meant
    assert rules({"task_category": written}).category == meant


@pytest.mark.parametrize(
    ("phase", "profile", "checks"),
    [
        ({}, "normal", "normal"),
        ({"complexity": "high"}, "normal", "strict"),
        ({"complexity": "low", "task_category": "security_auth"}, "normal", "strict"),
        ({"complexity": "low"}, "safety_critical", "strict"),
    ],
)
def test_the_ci_profile_follows_category_complexity_and_safety(phase: dict[str, Any], profile: str, checks: str):
    assert rules(phase, safety_profile=profile).ci_profile == checks


def test_a_project_overrides_each_number_by_its_name():
    ruleset = {
        "builder_limit_seconds": 10,
        "categories": {"docs": {"builder_attempts": 5, "audit_required": True}},
    }
    found = strategy({"task_category": "docs"}, {"ruleset": ruleset})
    assert found.limits.builder_seconds == 10
    assert (found.phases[0].builder_attempts, found.phases[0].audit_required) == (5, True)
    assert found.phases[0].incident_token_cap == 200_000


def test_an_override_may_use_an_alias():
    ruleset = {"categories": {"security_auth": {"builder_attempts": 5}}}
    assert (
        rules({"task_category": "security_auth_change"}, configuration={"ruleset": ruleset}).builder_attempts == 5
    )


@pytest.mark.parametrize(
    "wrong", ['ci_profile = "stict"', 'complexity = "hard"', "builder_attempts = 0", "colour = 1"]
)
def test_a_ruleset_that_cannot_be_meant_is_refused(wrong: str):
    with pytest.raises(ConfigurationInvalid, match=r"autopack\.toml: ruleset\.categories\.docs"):
        parse_configuration(f"[ruleset.categories.docs]\n{wrong}")


# ---- checks

OWN = {"checks": {"normal": {"own": {"argv": ["own"]}}}}
ASKED = {"normal": [{"name": "asked", "argv": ["asked"]}]}


def names(found: Strategy, profile: str = "normal") -> list[str]:
    assert found.checks is not None
    return [c.name for c in checks_of(found.checks, profile)]


def test_the_requests_checks_add_to_the_repositorys():
    assert names(strategy(None, OWN, checks=ASKED)) == ["own", "asked"]


def test_a_request_cannot_weaken_a_check_of_the_repository_by_its_name():
    found = strategy(None, OWN, checks={"normal": [{"name": "own", "argv": ["true"]}]})
    assert found.checks is not None
    assert [c.argv for c in found.checks.normal] == [("own",)]


def test_a_request_replaces_them_only_where_the_repository_allows_it():
    allowed = {"checks": {**OWN["checks"], "allow_override": True}}
    assert names(strategy(None, allowed, checks=ASKED)) == ["asked"]
    assert names(strategy(None, allowed, checks=None)) == ["own"]


def test_none_does_not_switch_off_the_repositorys_own_checks():
    assert names(strategy(None, OWN, checks="none")) == ["own"]
    assert strategy(None, None, checks="none").checks is None


def test_strict_runs_both_lists():
    assert names(strategy(None, None, checks=CHECKS), "strict") == ["tests", "all"]


def test_no_check_for_one_phase_refuses_the_run_and_names_it():
    with pytest.raises(NoChecks, match=r"'normal' \(phase 'P1'\)"):
        strategy(None, None, checks={"strict": [{"name": "s", "argv": ["s"]}]})
    assert strategy({"complexity": "high"}, None, checks={"strict": [{"name": "s", "argv": ["s"]}]})
