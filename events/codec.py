"""From bytes to events: versions, upcasters, and what is wrong with what cannot be read."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from msgspec import Struct
from pydantic import ValidationError
from pydantic_core import from_json

from events.catalogue import BY_NAME, AnyEventData
from events.decide.verdicts import Reason
from events.envelope import Envelope
from events.event import Event
from events.families.base import EventData
from events.families.run import RunRequested
from events.ids import derived_id
from events.plan import Fault

MAX_SUBMISSION_BYTES = 512 * 1024
"""A submitted record above this is refused: big things belong into the artifact store."""
MAX_RUN_ID_LENGTH = 128
BINARY_MODE = "ce_specversion"
"""The header that says that a record's attributes stand in its headers, and its value is the data alone."""

_TYPE_NAME = re.compile(r"autopack\.(?P<name>[A-Za-z]+)\.v(?P<version>0|[1-9][0-9]*)")

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


def _patch_accepted_v1(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 knew no concerns: none were looked for."""
    return {**data, "concerns": []}


UPCASTERS: Mapping[tuple[str, int], Upcaster] = MappingProxyType({("PatchAccepted", 1): _patch_accepted_v1})
"""From (name, version) to the data of the next version. A stored event is never edited."""


class UnreadableRecord(Exception):
    """A record cannot be read as an event."""

    def __init__(self, reason: Reason, message: str, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.faults = faults


class HistoryEvent(Struct, frozen=True):
    """A record of the history, read: the event, and its place in the chain of its run."""

    project: str
    event: Event
    sequence: int
    prevhash: str


class Submission(Struct, frozen=True):
    """A submitted record, read."""

    project: str
    event: Event


def read_history(value: bytes, type_name: str | None = None) -> HistoryEvent:
    """Read a record of the history. Raises UnreadableRecord, for instance for a newer version."""
    envelope = _read(value, type_name)
    if envelope.sequence is None or envelope.prevhash is None or envelope.recordedtime is None:
        raise UnreadableRecord(Reason.UNREADABLE, "not a record of the history: it has no place in a chain")
    if envelope.runid is None:
        raise UnreadableRecord(Reason.UNREADABLE, "not a record of the history: it names no run")
    event = _event(envelope, envelope.data, envelope.runid, envelope.recordedtime)
    return HistoryEvent(envelope.project, event, envelope.sequence, envelope.prevhash)


def read_submission(value: bytes, headers: Mapping[str, bytes], recorded_at: datetime) -> Submission:
    """Read a submitted record, in structured or binary content mode. Raises UnreadableRecord.

    `recorded_at` is the time at which the log took the record. A RunRequested gets its run id and project
    filled in, from the envelope or by rule.
    """
    if len(value) > MAX_SUBMISSION_BYTES:
        message = f"{len(value)} bytes; {MAX_SUBMISSION_BYTES} at most"
        raise UnreadableRecord(Reason.TOO_LARGE, message)
    envelope = _read(_structured(value, headers), None)
    data: EventData = envelope.data
    run_id = envelope.runid or envelope.subject
    if isinstance(data, RunRequested):
        run_id = run_id or data.run_id or f"run-{derived_id(envelope.project, envelope.source, envelope.id)}"
        data = _named(data, run_id, envelope.project)
    if run_id is None:
        raise _invalid_attribute("runid", "needed")
    if len(run_id) > MAX_RUN_ID_LENGTH:
        raise _invalid_attribute("subject", "too long for the id of a run")
    return Submission(envelope.project, _event(envelope, data, run_id, recorded_at))


def _invalid_attribute(name: str, message: str) -> UnreadableRecord:
    return UnreadableRecord(Reason.INVALID_DATA, f"{name}: {message}", (Fault(place=name, message=message),))


def _named(data: RunRequested, run_id: str, project: str) -> RunRequested:
    try:
        return RunRequested.model_validate(
            {**data.model_dump(), "run_id": data.run_id or run_id, "project": data.project or project}
        )
    except ValidationError as error:
        raise _invalid(error) from error


def _event(envelope: Envelope[Any], data: EventData, run_id: str, recorded_at: datetime) -> Event:
    return Event(
        id=envelope.id,
        source=envelope.source,
        run_id=run_id,
        recorded_at=recorded_at,
        data=_known(data),
        cause_id=envelope.causationid,
        time=envelope.time,
        traceparent=envelope.traceparent,
    )


def _known(data: EventData) -> AnyEventData:
    return data  # type: ignore[return-value]  # every class in BY_NAME is a member of the union


def _read(value: bytes, type_name: str | None) -> Envelope[Any]:
    """Current versions are read in one pass; older ones are upcast as plain JSON first."""
    raw: dict[str, Any] | None = None
    if type_name is None:
        raw = _json_object(value)
        type_name = str(raw.get("type"))
    event_type, version = _resolve(type_name)
    try:
        if version == event_type.version:
            return _reader(event_type).model_validate_json(value)
        upcast = _upcast(raw if raw is not None else _json_object(value), event_type, version)
        return _reader(event_type).model_validate(upcast)
    except ValidationError as error:
        raise _invalid(error) from error


def _json_object(value: bytes) -> dict[str, Any]:
    try:
        raw = from_json(value, allow_inf_nan=False)
    except ValueError as error:
        raise UnreadableRecord(Reason.UNREADABLE, f"not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise UnreadableRecord(Reason.UNREADABLE, "not a JSON object")
    return raw


@lru_cache(maxsize=1024)
def _resolve(type_name: str) -> tuple[type[EventData], int]:
    """The class and version that a CloudEvents type such as `autopack.RunRequested.v1` names."""
    parts = _TYPE_NAME.fullmatch(type_name)
    event_type = BY_NAME.get(parts["name"]) if parts else None
    if parts is None or event_type is None:
        raise _unknown_type(f"unknown type {type_name[:200]!r}")
    name, version = parts["name"], int(parts["version"][:9])
    if version > event_type.version:
        reads = f"this version reads up to v{event_type.version}; upgrade it"
        raise _unknown_type(f"{type_name[:200]}: {reads}")
    if any((name, v) not in UPCASTERS for v in range(version, event_type.version)):
        raise _unknown_type(f"{type_name}: there is no such version")
    return event_type, version


def _unknown_type(message: str) -> UnreadableRecord:
    return UnreadableRecord(Reason.UNKNOWN_TYPE, message, (Fault(place="type", message=message),))


@lru_cache(maxsize=256)
def _reader(event_type: type[EventData]) -> type[Envelope[Any]]:
    return Envelope[event_type]  # type: ignore[valid-type]  # parametrised at run time, once a type


def _upcast(raw: dict[str, Any], event_type: type[EventData], version: int) -> dict[str, Any]:
    data = raw.get("data")
    if not isinstance(data, dict):
        raise UnreadableRecord(Reason.INVALID_DATA, "data: not an object")
    for step in range(version, event_type.version):
        data = UPCASTERS[event_type.__name__, step](data)
    return {**raw, "data": data}


def _invalid(error: ValidationError) -> UnreadableRecord:
    faults = tuple(
        Fault(place=".".join(str(part) for part in e["loc"])[:200] or "(top)", message=e["msg"][:200])
        for e in error.errors(include_url=False, include_input=False)[:100]
    )
    message = f"{faults[0].place}: {faults[0].message}"
    return UnreadableRecord(Reason.INVALID_DATA, message, faults)


def _structured(value: bytes, headers: Mapping[str, bytes]) -> bytes:
    """Binary content mode (Kafka protocol binding 1.0, section 3.2) rewritten as structured mode."""
    if BINARY_MODE not in headers:
        return value
    attributes = {
        name.removeprefix("ce_"): text.decode("utf-8", "replace")
        for name, text in headers.items()
        if name.startswith("ce_")
    }
    if "content-type" in headers:
        content_type = headers["content-type"].decode("utf-8", "replace")
        attributes["datacontenttype"] = content_type.partition(";")[0].strip()
    return json.dumps({**attributes, "data": _json_object(value)}).encode()
