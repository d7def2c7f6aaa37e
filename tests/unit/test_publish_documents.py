"""The published documents say what the code says."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from events.catalogue import EVENT_TYPES, SUBMITTED_TO, Topic
from events.configuration import parse_configuration
from events.plan import MOST_PHASES, RunRequest, plan_faults
from events.publish.__main__ import main
from events.publish.asyncapi import asyncapi, messages_on
from events.publish.catalogue import catalogue as published_catalogue
from events.publish.documents import differing, documents, write
from events.publish.schemas import CONFIGURATION, PLAN, older_versions
from events.publish.schemas import schemas as published_schemas
from support.scenario import plan

schemas = cache(published_schemas)
catalogue = cache(published_catalogue)

DOCS = Path(__file__).parents[2] / "docs"
GOLDEN = Path(__file__).parents[1] / "golden"

TOML = """
[prepare]
argv = ["make", "setup"]
keyed_by = ["requirements.txt"]
paths = [".venv"]
[checks.normal]
tests = { argv = ["make", "test"], timeout_seconds = 600, paths = ["src/**"], junit = "report.xml" }
[checks.strict]
everything = { argv = ["make", "ci"], timeout_seconds = 3600 }
[policy]
protected = ["infra/**"]
[ruleset]
check_tries = 2
[ruleset.categories.docs]
builder_attempts = 1
"""

WRONG_TOML = [
    "[colour]\nred = 1",
    "[checks]\nnormal = 7",
    "[checks.normal]\ntests = { argv = [] }",
    "[checks.normal]\ntests = { timeout_seconds = 1 }",
    "[prepare]\npaths = []",
    "[ruleset]\ncheck_tries = 99",
    '[ruleset.categories.docs]\nci_profile = "stict"',
]


def test_the_documents_are_as_the_code_has_them():
    assert differing(DOCS, documents()) == [], "python -m events.publish"


def test_generating_twice_gives_the_same_bytes_on_every_machine():
    script = "from events.publish.documents import documents; import hashlib; "
    script += "print(hashlib.sha256(repr(documents()).encode()).hexdigest())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_check_fails_where_a_document_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--docs", str(tmp_path)]) == 0
    assert main(["--docs", str(tmp_path), "--check"]) == 0
    (tmp_path / "events.md").write_text("something else")
    (tmp_path / "schemas" / "Forgotten.v1.json").write_text("{}")
    assert main(["--docs", str(tmp_path), "--check"]) == 1
    said = capsys.readouterr().err
    assert "events.md" in said
    assert "Forgotten.v1.json" in said


def test_a_schema_of_an_older_version_is_left_as_it_was(tmp_path: Path):
    write(tmp_path, documents())
    older = tmp_path / "schemas" / "PatchAccepted.v1.json"
    older.write_text("{}")
    assert differing(tmp_path, documents()) == []


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda t: t.__name__)
def test_the_catalogue_names_every_event_with_its_fields_and_writer(event_type: Any):
    section = catalogue().partition(f"### {event_type.__name__}\n")[2].partition("\n### ")[0]
    assert f"`{event_type.type_name()}`" in section
    assert all(f"| `{name}` |" in section for name in event_type.model_fields)
    topic = SUBMITTED_TO.get(event_type)
    assert (f"submitted to `{topic}`" if topic else "written by the supervisor") in section


# ---- AsyncAPI


def references(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(document, list):
        for value in document:
            yield from references(value)


def resolved(document: Any, pointer: str) -> Any:
    for part in pointer.removeprefix("#/").split("/"):
        document = document[part]
    return document


def test_every_reference_of_the_asyncapi_document_leads_somewhere():
    document = asyncapi()
    found = list(references(document))
    for reference in found:
        if reference.startswith("#/"):
            assert resolved(document, reference)
        else:
            assert reference.removeprefix("./schemas/") in schemas()
    assert len(found) > 100


def test_the_asyncapi_document_has_the_five_topics_and_names_no_host():
    document = asyncapi()
    assert set(document["channels"]) == {topic.value for topic in Topic}
    assert document["asyncapi"] == "3.0.0"
    assert "servers" not in document
    assert "://" not in str(document)


def test_a_topic_carries_what_may_be_submitted_to_it_and_the_history_everything():
    assert set(messages_on(Topic.EVENTS)) == {t.__name__ for t in EVENT_TYPES}
    for topic in (Topic.COMMANDS, Topic.RESULTS):
        assert set(messages_on(topic)) == {t.__name__ for t, at in SUBMITTED_TO.items() if at is topic}


# ---- plans and autopack.toml


def test_a_plan_is_valid_by_its_schema_in_every_format():
    body = plan().model_dump(mode="json")
    validator = Draft202012Validator(schemas()[PLAN])
    validator.validate(body)
    validator.validate(yaml.safe_load(yaml.safe_dump(body)))
    assert RunRequest.model_validate(body)


@pytest.mark.parametrize("run_id", ["a..b", "a.lock", "a.", "..", "a" * 101])
def test_the_schema_of_a_plan_refuses_awkward_ids_as_the_code_does(run_id: str):
    body = {**plan().model_dump(mode="json"), "run_id": run_id}
    assert not Draft202012Validator(schemas()[PLAN]).is_valid(body)
    with pytest.raises(ValueError, match="validation error"):
        RunRequest.model_validate(body)


@pytest.mark.parametrize("run_id", ["a", "a.b", "a.locks", "lock", "a" * 100])
def test_the_schema_of_a_plan_takes_every_other_id(run_id: str):
    Draft202012Validator(schemas()[PLAN]).validate({**plan().model_dump(mode="json"), "run_id": run_id})


def test_the_schema_of_a_plan_refuses_more_phases_than_the_code_takes():
    validator = Draft202012Validator(schemas()[PLAN])
    for count, fits in ((MOST_PHASES, True), (MOST_PHASES + 1, False)):
        large = plan([{"phase_id": f"P{n}"} for n in range(count)])
        assert validator.is_valid(large.model_dump(mode="json")) is fits
        assert (plan_faults(large) == ()) is fits


def test_the_schema_of_every_version_that_can_be_read_is_published():
    published = {path.name for path in (DOCS / "schemas").iterdir()}
    assert older_versions() <= published
    older = json.loads((DOCS / "schemas" / "PatchAccepted.v1.json").read_bytes())
    record = json.loads((GOLDEN / "PatchAccepted.v1.json").read_bytes())
    assert older["$id"] == record["dataschema"]
    Draft202012Validator(older).validate(record["data"])


@pytest.mark.parametrize("changes", [{"colour": "red"}, {"run_id": "-x"}, {"phases": [{}]}, {"checks": "some"}])
def test_the_schema_of_a_plan_refuses_what_the_code_refuses(changes: dict[str, Any]):
    body = {**plan().model_dump(mode="json"), **changes}
    assert not Draft202012Validator(schemas()[PLAN]).is_valid(body)
    with pytest.raises(ValueError, match="validation error"):
        RunRequest.model_validate(body)


def test_autopack_toml_is_valid_by_its_schema_as_people_write_it():
    Draft202012Validator(schemas()[CONFIGURATION]).validate(tomllib.loads(TOML))
    configuration = parse_configuration(TOML)
    assert [c.name for c in configuration.checks.normal] == ["tests"]
    assert configuration.ruleset.categories["docs"].builder_attempts == 1


@pytest.mark.parametrize("text", WRONG_TOML)
def test_the_schema_of_autopack_toml_refuses_what_the_code_refuses(text: str):
    assert not Draft202012Validator(schemas()[CONFIGURATION]).is_valid(tomllib.loads(text))
    with pytest.raises(Exception, match=r"autopack\.toml"):
        parse_configuration(text)
