"""Between the port's records and the columns that they are kept in."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg
import orjson

from events.catalogue import Topic
from events.log.port import NewRecord, StoredRecord


def columns(records: Sequence[NewRecord]) -> tuple[list[bytes], list[bytes], list[str]]:
    """Keys, values and headers, as arrays for `unnest`."""
    return (
        [record.key.encode() for record in records],
        [record.value for record in records],
        [headers_text(record.headers) for record in records],
    )


def stored(topic: Topic, partition: int, row: asyncpg.Record) -> StoredRecord:
    """The record in a row."""
    key: bytes | None = row["key"]
    recorded_at: datetime = row["recorded_at"]
    return StoredRecord(
        topic=topic,
        partition=partition,
        offset=row["offset"],
        key=None if key is None else key.decode(errors="replace"),
        value=row["value"],
        headers=headers_in(row["headers"]),
        recorded_at=recorded_at,
    )


def headers_text(headers: Mapping[str, bytes]) -> str:
    """As one JSON object, each value's bytes read as Latin-1."""
    return orjson.dumps({name: value.decode("latin-1") for name, value in headers.items()}).decode()


def headers_in(text: str) -> dict[str, bytes]:
    """What such a text says."""
    return {name: value.encode("latin-1") for name, value in orjson.loads(text).items()}
