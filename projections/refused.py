"""How a record of the rejections is read: the refused bytes, and in headers why, and where they lay."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from msgspec import Struct

from events.log.port import StoredRecord

ORIGINAL = "original."
"""Before the names of the refused record's own headers."""


class Refused(Struct, frozen=True):
    """A refused record. What its headers do not say, or say amiss, is None."""

    project: str
    run_id: str | None
    type: str | None
    source: str | None
    event_id: str | None
    reason: str
    message: str
    faults: Sequence[Mapping[str, Any]]
    source_topic: str | None
    source_partition: int | None
    source_offset: int | None
    original_headers: Mapping[str, str]


def read_refused(record: StoredRecord) -> Refused:
    """Read a record of the rejections; nothing in it is trusted, and nothing makes this fail."""
    headers = record.headers
    told = _told(record)
    return Refused(
        project=plain(record.key or ""),
        run_id=_text(headers.get("run")) or told.get("runid"),
        type=_text(headers.get(f"{ORIGINAL}type")) or told.get("type"),
        source=_text(headers.get("source")) or told.get("source"),
        event_id=_text(headers.get("id")) or told.get("id"),
        reason=_text(headers.get("reason")) or "unknown",
        message=_text(headers.get("message")) or "",
        faults=_faults(headers.get("faults")),
        source_topic=_text(headers.get("source_topic")),
        source_partition=_number(headers.get("source_partition")),
        source_offset=_number(headers.get("source_offset")),
        original_headers={
            plain(name.removeprefix(ORIGINAL)): base64.b64encode(value).decode()
            for name, value in headers.items()
            if name.startswith(ORIGINAL)
        },
    )


_ATTRIBUTES = ("id", "source", "type", "runid")


def _told(record: StoredRecord) -> Mapping[str, str]:
    """What the refused record says of itself, in structured or binary mode, where it can be read at all."""
    binary = {name: _text(record.headers.get(f"{ORIGINAL}ce_{name}")) for name in _ATTRIBUTES}
    try:
        value = orjson.loads(record.value)
    except ValueError:
        value = None
    attributes = {
        **(value if isinstance(value, dict) else {}),
        **{k: v for k, v in binary.items() if v is not None},
    }
    return {name: plain(attributes[name]) for name in _ATTRIBUTES if isinstance(attributes.get(name), str)}


def plain(text: str) -> str:
    """The text without what Postgres cannot keep."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _text(value: bytes | None) -> str | None:
    return None if value is None else plain(value.decode("utf-8", "replace"))


def _number(value: bytes | None) -> int | None:
    try:
        return None if value is None else int(value[:18])
    except ValueError:
        return None


def _faults(value: bytes | None) -> Sequence[Mapping[str, Any]]:
    try:
        found = orjson.loads(value or b"[]")
    except ValueError:
        return ()
    if not isinstance(found, list):
        return ()
    return [
        {"place": plain(str(fault.get("place", ""))), "message": plain(str(fault.get("message", "")))}
        for fault in found
        if isinstance(fault, dict)
    ]
