"""Whatever bytes come, reading them gives an event or UnreadableRecord, never anything else."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.catalogue import BY_NAME
from events.codec import MAX_SUBMISSION_BYTES, Submission, UnreadableRecord, read_history, read_submission
from events.decide.verdicts import Reason
from events.envelope import write_history
from events.event import Event
from events.families.run import RunCancelRequested, RunRequested

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def cancel(**changes: Any) -> dict[str, Any]:
    record = {
        "specversion": "1.0",
        "id": "1",
        "source": "/test",
        "type": "autopack.RunCancelRequested.v1",
        "project": "shop",
        "runid": "run-1",
        "data": {},
    }
    return {k: v for k, v in {**record, **changes}.items() if v is not ...}


def as_bytes(record: Any) -> bytes:
    return json.dumps(record).encode()


def read(value: bytes, headers: dict[str, bytes] | None = None) -> Submission:
    return read_submission(value, headers or {}, NOW)


def refusal(value: bytes, headers: dict[str, bytes] | None = None) -> UnreadableRecord:
    with pytest.raises(UnreadableRecord) as caught:
        read(value, headers)
    return caught.value


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"junk",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf{}",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"{",
        b'{"a": 1}trailing',
        b"{'a': 1}",
        b"\x00" * 1000,
        b"[" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"9" * 10_000,
        as_bytes({"data": {}}),
    ],
)
def test_junk_is_unreadable(value: bytes):
    assert refusal(value).reason in (Reason.UNREADABLE, Reason.UNKNOWN_TYPE)


def test_a_megabyte_is_too_large_however_well_formed():
    value = as_bytes(cancel(data={"reason": "r" * 1024 * 1024}))
    assert refusal(value).reason is Reason.TOO_LARGE
    assert str(MAX_SUBMISSION_BYTES) in refusal(value).message


def test_deep_nesting_is_refused_wherever_it_stands():
    deep = "[" * 10_000 + "]" * 10_000
    for record in (cancel(data="@"), cancel(extension="@"), cancel(data={"reason": "@"})):
        refused = refusal(json.dumps(record).replace('"@"', deep).encode())
        assert refused.reason in (Reason.UNREADABLE, Reason.INVALID_DATA)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(number: str):
    plan = cancel(type="autopack.RunRequested.v1", data={"max_duration_minutes": "@"})
    refused = refusal(json.dumps(plan).replace('"@"', number).encode())
    assert refused.reason in (Reason.UNREADABLE, Reason.INVALID_DATA)


def test_of_two_equal_keys_the_last_counts_for_type_and_data_alike():
    value = as_bytes(cancel())[:-1] + b',"data":{"reason":"second"},"id":"2"}'
    submission = read(value)
    assert submission.event.id == "2"
    assert submission.event.data == RunCancelRequested(reason="second")


def test_two_types_in_one_record_do_not_smuggle_anything_in():
    value = b'{"type":"autopack.RunCompleted.v1",' + as_bytes(cancel())[1:]
    assert isinstance(read(value).event.data, RunCancelRequested)


@pytest.mark.parametrize("place", ["id", "source", "project", "runid", "data"])
def test_lone_surrogates_are_refused(place: str):
    written = cancel(**{place: "@"}) if place != "data" else cancel(data={"reason": "@"})
    refused = refusal(json.dumps(written).replace("@", "\\ud800").encode())
    assert refused.reason is Reason.UNREADABLE


def test_foreign_extension_attributes_are_passed_over():
    submission = read(as_bytes(cancel(comexampleextension=7, dataref="s3://x", knativehistory="a;b")))
    assert submission.event.data == RunCancelRequested()


def test_what_only_the_history_holds_is_ignored_in_a_submission():
    submission = read(as_bytes(cancel(sequence=99, prevhash="a" * 64, recordedtime="2001-01-01T00:00:00Z")))
    assert submission.event.recorded_at == NOW


@pytest.mark.parametrize(
    ("type_name", "said"),
    [
        ("autopack.RunCancelRequested.v2", "upgrade"),
        ("autopack.RunCancelRequested.v999999999999999999999", "upgrade"),
        ("autopack.RunCancelRequested.v0", "no such version"),
        ("autopack.RunCancelRequested.v00000000001", "unknown type"),
        ("autopack.RunCancelRequested.v01", "unknown type"),
        ("autopack.RunCancelRequested.v١", "unknown type"),
        ("autopack.RunCancelRequested.v", "unknown type"),
        ("autopack.RunCancelRequested.v-1", "unknown type"),
        ("autopack.RunCancelRequested", "unknown type"),
        ("autopack.NoSuchEvent.v1", "unknown type"),
        ("other.RunCancelRequested.v1", "unknown type"),
        ("", "unknown type"),
        ("x" * 10_000, "unknown type"),
        ("autopack.RunCancelRequested.v" + "9" * 10_000, "upgrade"),
        (7, "unknown type"),
        (None, "unknown type"),
        ({"a": 1}, "unknown type"),
    ],
)
def test_an_unknown_type_or_version_is_named(type_name: object, said: str):
    refused = refusal(as_bytes(cancel(type=type_name)))
    assert refused.reason is Reason.UNKNOWN_TYPE
    assert said in refused.message
    assert len(refused.message) < 400


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"specversion": ...}, "specversion"),
        ({"id": ""}, "id"),
        ({"id": "i" * 129}, "id"),
        ({"source": ""}, "source"),
        ({"project": ...}, "project"),
        ({"project": "../etc"}, "project"),
        ({"project": ""}, "project"),
        ({"runid": "r" * 129}, "runid"),
        ({"runid": ...}, "runid"),
        ({"time": "yesterday"}, "time"),
        ({"time": "2026-01-01T00:00:00"}, "time"),
        ({"datacontenttype": "application/xml"}, "datacontenttype"),
        ({"data": ...}, "data"),
        ({"data": {"reason": 7}}, "data.reason"),
        ({"data": {"colour": "red"}}, "data.colour"),
        ({"subject": "s" * 129, "runid": ...}, "subject"),
    ],
)
def test_each_fault_is_named_with_its_place(changes: dict[str, Any], place: str):
    refused = refusal(as_bytes(cancel(**changes)))
    assert refused.reason is Reason.INVALID_DATA
    assert place in [f.place for f in refused.faults]


def test_faults_stay_readable_however_long_the_keys_are():
    refused = refusal(as_bytes(cancel(data={f"{n}" * 1000: n for n in range(100, 220)})))
    assert len(refused.faults) == 100
    assert sum(len(f.place) + len(f.message) for f in refused.faults) < 50_000


def test_the_subject_names_the_run_where_runid_does_not():
    assert read(as_bytes(cancel(runid=..., subject="run-2"))).event.run_id == "run-2"


def test_a_request_without_a_run_id_gets_one_that_follows_from_the_record():
    value = as_bytes(cancel(type="autopack.RunRequested.v1", runid=..., data={}))
    first, again = read(value), read(value)
    assert first.event.run_id == again.event.run_id
    assert isinstance(first.event.data, RunRequested)
    assert (first.event.data.run_id, first.event.data.project) == (first.event.run_id, "shop")


def test_a_request_whose_run_id_is_awkward_is_refused():
    value = as_bytes(cancel(type="autopack.RunRequested.v1", runid="../../etc", data={}))
    assert refusal(value).reason is Reason.INVALID_DATA


# ---- binary content mode


def binary(**changes: bytes) -> dict[str, bytes]:
    record = cancel()
    attributes = {f"ce_{k}": str(v).encode() for k, v in record.items() if k != "data"}
    return {**attributes, "content-type": b"application/json; charset=utf-8", **changes}


def test_binary_content_mode_is_accepted():
    submission = read(b'{"reason": "enough"}', binary())
    assert submission.event.data == RunCancelRequested(reason="enough")
    assert (submission.project, submission.event.source) == ("shop", "/test")


def test_a_content_type_with_blanks_is_accepted():
    assert read(b"{}", binary(**{"content-type": b" application/json ;charset=utf-8"}))


def test_structured_mode_with_its_content_type_is_accepted():
    assert read(as_bytes(cancel()), {"content-type": b"application/cloudevents+json; charset=UTF-8"})


@pytest.mark.parametrize(
    "headers",
    [
        binary(ce_id=b"\xff\xff"),
        binary(ce_type=b""),
        binary(ce_project=b"\x00"),
        binary(**{"content-type": b"\xff"}),
        binary(ce_sequence=b"not a number"),
        {"ce_specversion": b"1.0"},
    ],
)
def test_odd_headers_are_refused_or_read_but_break_nothing(headers: dict[str, bytes]):
    readable(b"{}", headers)


def test_a_header_cannot_stand_for_the_data():
    assert refusal(b"junk", binary(ce_data=b"{}")).reason is Reason.UNREADABLE


# ---- history


def test_a_submission_is_no_record_of_the_history():
    with pytest.raises(UnreadableRecord, match="no place in a chain"):
        read_history(as_bytes(cancel()))


def test_what_is_written_to_the_history_is_read_back_as_it_was():
    event = Event("1", "/test", "run-1", NOW, RunCancelRequested(reason="\x00 ü \u2028"), time=NOW)
    record = read_history(write_history(event, "shop", 7, "a" * 64))
    assert (record.project, record.event, record.sequence, record.prevhash) == ("shop", event, 7, "a" * 64)


# ---- whatever comes


def readable(value: bytes, headers: dict[str, bytes] | None = None) -> None:
    """Anything but UnreadableRecord would come out of here."""
    with suppress(UnreadableRecord):
        read(value, headers)
    with suppress(UnreadableRecord):
        read_history(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from([*sorted(BY_NAME), "Nothing"])
KEYS = st.sampled_from([*cancel(), "subject", "time", "sequence", "prevhash", "recordedtime", "traceparent"])


@given(st.binary(max_size=300))
def test_random_bytes_break_nothing(value: bytes):
    readable(value)


@settings(max_examples=200)
@given(NAMES, st.integers(-1, 3), st.dictionaries(KEYS, JSON, max_size=4), JSON)
def test_random_records_break_nothing(name: str, version: int, changes: dict[str, Any], data: Any):
    record = {**cancel(type=f"autopack.{name}.v{version}", data=data), **changes}
    readable(json.dumps(record).encode())


FIELDS = st.sampled_from(sorted({f for t in BY_NAME.values() for f in t.model_fields}))


@settings(max_examples=200)
@given(NAMES, st.dictionaries(FIELDS, JSON, max_size=6))
def test_random_fields_break_nothing(name: str, data: dict[str, Any]):
    event_type = BY_NAME.get(name)
    version = event_type.version if event_type else 1
    readable(json.dumps(cancel(type=f"autopack.{name}.v{version}", data=data)).encode())


@given(st.dictionaries(st.sampled_from([*binary(), "ce_time", "ce_sequence", "other"]), st.binary(max_size=20)))
def test_random_headers_break_nothing(headers: dict[str, bytes]):
    readable(b"{}", headers)
    readable(b"{}", {**binary(), **headers})


@settings(max_examples=200)
@given(st.data())
def test_a_record_with_a_byte_changed_breaks_nothing(data: st.DataObject):
    value = bytearray(as_bytes(cancel(data={"reason": "because"})))
    place = data.draw(st.integers(0, len(value) - 1))
    value[place] = data.draw(st.integers(0, 255))
    readable(bytes(value))
