"""`audit verify`: whether a run's history is whole, record by record, from its first to its last."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from events.codec import UnreadableRecord, read_history
from events.history import NO_HEAD, Head, Link, link
from services.cli.failures import Unsuccessful


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: how many records fit, the digest of the last, and the first fault, if there is one."""

    run_id: str
    project: str | None
    records: int
    digest: str
    fault: str | None = None

    @property
    def whole(self) -> bool:
        """Every record is numbered, and bound to the exact bytes of the one before."""
        return self.fault is None


async def verify(run: Mapping[str, Any], records: AsyncIterator[bytes]) -> Verification:
    """Check numbers and hashes of all records of a run.

    `run` is the run as the service shows it: so many records must be there, and it must not be in quarantine.
    """
    if "event_count" not in run:
        raise Unsuccessful("the service is of an older version, which does not say how many events a run has")
    run_id = run["run_id"]
    found = await _verify(run_id, records)
    if found.whole and found.records < run["event_count"]:
        return replace(found, fault=f"records {found.records} to {run['event_count'] - 1} are not in the log")
    if found.whole and run["quarantine"] is not None:
        return replace(found, fault=f"in quarantine: {run['quarantine']}")
    return found


async def _verify(run_id: str, records: AsyncIterator[bytes]) -> Verification:
    head, project = NO_HEAD, None
    async for record in records:
        try:
            event = read_history(record)
        except UnreadableRecord as error:
            return _broken(run_id, project, head, f"record {head.sequence + 1} cannot be read: {error}")
        if event.event.run_id != run_id or project not in (None, event.project):
            return _broken(run_id, project, head, f"record {head.sequence + 1} belongs to another run")
        if link(head, event.sequence, event.prevhash, record) is not Link.EXTENDS:
            place = f"record {event.sequence} does not follow record {head.sequence}"
            return _broken(run_id, project, head, f"{place}: its number or the hash that it holds is another")
        project, head = event.project, _next_head(event.sequence, record)
    if project is None:
        return _broken(run_id, project, head, "there is no record")
    return Verification(run_id, project, head.sequence + 1, head.digest)


def _next_head(sequence: int, record: bytes) -> Head:
    """The head after a record."""
    return Head(sequence, sha256(record).hexdigest())


def _broken(run_id: str, project: str | None, head: Head, fault: str) -> Verification:
    return Verification(run_id, project, head.sequence + 1, head.digest, fault)
