"""Records as strangers submit them: malformed, oversized, put into the wrong partition."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import NewRecord, Place, StoredRecord
from support.builds import Build, submitted


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that must be refused: where it is put, why it is refused, and which places are faulty."""

    value: bytes
    reason: str
    places: tuple[str, ...] = ()
    topic: Topic = Topic.COMMANDS
    headers: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def record(self) -> NewRecord:
        """The record, under the key of the project whose partition it shall not stop."""
        return NewRecord("shop", self.value, self.headers)


def altered(data: Mapping[str, Any], kind: str = "RunRequested", run_id: str = "odd", **changes: Any) -> bytes:
    """An envelope with attributes of its own; those set to None are left out."""
    whole = json.loads(submitted(kind, data, run_id, "shop").value) | changes
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def elsewhere(project: str, partition_count: int, repeated: int = 1) -> str:
    """A key that lies in another partition than a project; a long one, where it is repeated."""
    home = home_partition(project, partition_count)
    names = (f"key-{number}-" * repeated for number in range(1000))
    return next(name for name in names if home_partition(name, partition_count) != home)


def binary_mode(data: Mapping[str, Any], run_id: str, project: str = "shop", **attributes: str) -> NewRecord:
    """A RunRequested with its attributes in headers (CloudEvents' Kafka binding 1.0, section 3.2)."""
    written = {
        "specversion": "1.0",
        "id": f"binary-{run_id}",
        "source": "/tests",
        "type": "autopack.RunRequested.v1",
        "time": "2026-01-01T00:00:00Z",
        "project": project,
        "runid": run_id,
        **attributes,
    }
    headers = {f"ce_{name}": text.encode() for name, text in written.items()}
    headers["content-type"] = b"application/json; charset=utf-8"
    return NewRecord(project, json.dumps(data).encode(), headers)


async def refusals(build: Build) -> dict[bytes, dict[str, Any]]:
    """What was refused, in any partition: the headers, by the raw bytes, faults as their places."""
    found = {}
    for number in range(build.log.partition_count):
        for record in await _all_in(build, Place(Topic.REJECTIONS, number)):
            told: dict[str, Any] = {name: text.decode("utf-8", "replace") for name, text in record.headers.items()}
            told["places"] = tuple(fault["place"] for fault in json.loads(told["faults"]))
            found[record.value] = told | {"key": record.key}
    return found


async def _all_in(build: Build, place: Place) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    while more := await build.log.read(place, found[-1].offset + 1 if found else 0):
        found += more
    return found
