"""Making records of what a log's server gives."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from faults.invariants.evidence import Record


def record(
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    headers: Mapping[str, bytes],
    recorded_at: datetime,
) -> Record:
    """A record with its value read as JSON."""
    raw = value or b""
    return Record(topic, partition, offset, key, raw, headers, recorded_at, _object(raw))


def _object(value: bytes) -> Mapping[str, Any]:
    """A JSON object; strangers may submit anything."""
    try:
        found = json.loads(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
