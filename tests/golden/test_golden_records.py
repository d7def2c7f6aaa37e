"""What any release has written is read for ever, and what this one writes does not change by accident."""

from hashlib import sha256
from pathlib import Path

import orjson
import pytest
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from msgspec.structs import replace

from events.catalogue import BY_NAME, EVENT_TYPES, SUBMITTED_TO
from events.codec import UPCASTERS, UnreadableRecord, read_history, read_submission
from events.envelope import Envelope, schema_name, write_history, write_submission
from events.families.apply import PatchAccepted
from events.families.base import EventData
from events.families.run import RunRequested
from events.publish.schemas import ENVELOPE, event_schema, schemas
from support.golden import FOLDER, path_of, record_of
from support.samples import AT, sample, sample_event

RECORDS = sorted(FOLDER.glob("*.json"))


def named(path: Path) -> tuple[type[EventData], int]:
    name, _, version = path.name.removesuffix(".json").rpartition(".v")
    return BY_NAME[name], int(version)


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda t: t.__name__)
def test_every_event_type_and_version_has_a_golden_record(event_type: type[EventData]):
    assert path_of(event_type).exists(), "write it: PYTHONPATH=tests python -m support.golden"
    for version in range(1, event_type.version):
        assert (FOLDER / f"{event_type.__name__}.v{version}.json").exists()


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.name)
def test_a_golden_record_is_read(path: Path):
    event_type, _ = named(path)
    record = read_history(path.read_bytes())
    assert type(record.event.data) is event_type
    assert (record.project, record.sequence, record.event.recorded_at) == ("sample-1", 7, AT)


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.name)
def test_the_type_beside_a_record_leads_to_the_same_event(path: Path):
    value = path.read_bytes()
    assert read_history(value, orjson.loads(value)["type"]) == read_history(value)


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.name)
def test_a_record_of_the_current_version_is_written_again_with_the_same_bytes(path: Path):
    event_type, version = named(path)
    record = read_history(path.read_bytes())
    again = write_history(record.event, record.project, record.sequence, record.prevhash)
    assert (again == path.read_bytes()) is (version == event_type.version)


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda t: t.__name__)
def test_this_code_writes_what_the_golden_record_holds(event_type: type[EventData]):
    """Where this fails the shape has changed: give the event a new version and an upcaster."""
    assert record_of(event_type) == path_of(event_type).read_bytes()


@pytest.mark.parametrize("event_type", SUBMITTED_TO, ids=lambda t: t.__name__)
def test_what_is_submitted_is_read_back_as_it_was(event_type: type[EventData]):
    event = sample_event(event_type)
    if isinstance(event.data, RunRequested):
        event = replace(event, data=event.data.model_copy(update={"run_id": "run-1"}))
    assert read_submission(write_submission(event, "sample-1"), {}, AT).event == event


def test_an_old_patch_accepted_is_read_as_one_without_concerns():
    old = read_history((FOLDER / "PatchAccepted.v1.json").read_bytes()).event.data
    assert isinstance(old, PatchAccepted)
    assert old.concerns == ()
    assert old == sample(PatchAccepted).model_copy(update={"concerns": ()})


def test_an_upcaster_leads_from_every_older_version_to_the_next():
    wanted = {(t.__name__, v) for t in EVENT_TYPES for v in range(1, t.version)}
    assert set(UPCASTERS) == wanted != set()


def test_a_newer_version_is_not_guessed_at():
    value = path_of(PatchAccepted).read_bytes().replace(b"PatchAccepted.v2", b"PatchAccepted.v3")
    with pytest.raises(UnreadableRecord, match="reads up to v2; upgrade it"):
        read_history(value)


def test_old_records_are_never_edited():
    """The bytes of every version that is written no more, as they were published."""
    frozen = {"PatchAccepted.v1.json": "e83c36fe8f8af130ab2d271534a533c5f86e218d145b9f1e0199cf892b2d374f"}
    old = {p.name: sha256(p.read_bytes()).hexdigest() for p in RECORDS if named(p)[0].version > named(p)[1]}
    assert old == frozen


# ---- schemas


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda t: t.__name__)
def test_a_golden_record_is_valid_by_its_published_schema(event_type: type[EventData]):
    record = orjson.loads(path_of(event_type).read_bytes())
    schema = event_schema(event_type)
    assert record["dataschema"] == schema["$id"] == schema_name(event_type)
    Draft202012Validator(schema).validate(record["data"])
    Draft202012Validator(schemas()[ENVELOPE] | {"properties": _attributes()}).validate(record)


def _attributes() -> dict[str, object]:
    """The envelope without `data`, which has a schema of its own."""
    return {k: v for k, v in schemas()[ENVELOPE]["properties"].items() if k != "data"}


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda t: t.__name__)
def test_a_schema_refuses_what_the_code_refuses(event_type: type[EventData]):
    data = orjson.loads(path_of(event_type).read_bytes())["data"]
    validator = Draft202012Validator(event_schema(event_type))
    assert not validator.is_valid({**data, "colour": "red"})
    for name in event_schema(event_type).get("required", ()):
        assert not validator.is_valid({k: v for k, v in data.items() if k != name}), name


def test_every_schema_is_one():
    for name, schema in schemas().items():
        assert validator_for(schema) is Draft202012Validator, name
        Draft202012Validator.check_schema(schema)


def test_the_envelope_names_every_attribute():
    written = set(orjson.loads(record_of(PatchAccepted)))
    assert written == set(Envelope.model_fields)
