"""`audit verify`: whether a run's history is whole, record by record, from its first to its last."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256

from events.codec import UnreadableRecord, read_history
from events.history import NO_HEAD, Head, Link, link


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


async def verify(run_id: str, records: AsyncIterator[bytes]) -> Verification:
    """Check numbers and hashes of all records of a run."""
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
