"""One row a refused record: its raw bytes, why, and where it lay. They expire with the records themselves."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from events.log.port import StoredRecord
from projections.projection import Projection
from projections.refused import read_refused


class RejectionRow(Struct, frozen=True):
    """A refused record. `headers` are its own, by name, each value in base64."""

    partition: int
    log_offset: int
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
    size_bytes: int
    raw: bytes
    headers: Mapping[str, str]
    rejected_at: datetime


def refuse(record: StoredRecord) -> Iterable[RejectionRow]:
    """The record's own row."""
    refused = read_refused(record)
    return [
        RejectionRow(
            partition=record.partition,
            log_offset=record.offset,
            project=refused.project,
            run_id=refused.run_id,
            type=refused.type,
            source=refused.source,
            event_id=refused.event_id,
            reason=refused.reason,
            message=refused.message,
            faults=refused.faults,
            source_topic=refused.source_topic,
            source_partition=refused.source_partition,
            source_offset=refused.source_offset,
            size_bytes=len(record.value),
            raw=record.value,
            headers=refused.original_headers,
            rejected_at=record.recorded_at,
        )
    ]


REJECTIONS: Projection[RejectionRow] = Projection(
    name="rejections",
    version=1,
    row=RejectionRow,
    key=("partition", "log_offset"),
    refuse=refuse,
    memory=None,
)
