"""I8: the hash chain of every run verifies over the exact bytes, causes exist, and an end is an end."""

from collections.abc import Iterator, Sequence
from hashlib import sha256

from faults.invariants.evidence import REJECTIONS, TERMINAL, Evidence, Record

GENESIS = "0" * 64
AFTER_THE_END = ("RunPromoted", "BudgetSettled")
SUPERVISOR = "/autopack/supervisor"
WORKERS = tuple(f"/autopack/{name}" for name in ("builder", "auditor", "applier", "verifier"))


def violations(evidence: Evidence) -> Iterator[str]:
    """Broken links, events without their cause, events behind the end, and records that deny their headers."""
    refused = {record.headers.get("id", b"").decode("utf-8", "replace") for record in evidence.log.of(REJECTIONS)}
    for records in evidence.log.runs.values():
        yield from _links(records)
        yield from _behind_the_end(records)
        for record in records:
            yield from _labels(record)
    yield from _causes(evidence.log.history, refused)


def _links(records: Sequence[Record]) -> Iterator[str]:
    expected = GENESIS
    for record in records:
        if record.event.get("prevhash") != expected:
            yield f"{record} has prevhash {record.event.get('prevhash')}, and should have {expected}"
        expected = sha256(record.value).hexdigest()


def _behind_the_end(records: Sequence[Record]) -> Iterator[str]:
    ended: Record | None = None
    for record in records:
        if ended is not None and record.name not in AFTER_THE_END:
            yield f"{record} comes after the end of its run"
        if record.name in TERMINAL:
            ended = record


def _labels(record: Record) -> Iterator[str]:
    """What stands beside a record so that nobody need read it is what stands in it."""
    beside = (record.key, record.headers.get("type"), record.headers.get("run"))
    inside = tuple(str(record.event.get(name)).encode() for name in ("project", "type", "runid"))
    if beside != inside:
        yield f"{record} has {beside} beside it"


def _causes(history: Sequence[Record], refused: set[str]) -> Iterator[str]:
    """The supervisor's own events follow from one that came before, admitted or refused; so do those of workers.

    What an emitter names as the cause of its command is its own affair.
    """
    seen: dict[int, set[str]] = {}
    for record in history:
        before = seen.setdefault(record.partition, set())
        source, cause = str(record.event.get("source")), record.event.get("causationid")
        is_ours = source == SUPERVISOR or source.startswith(WORKERS)
        if is_ours and cause is None and record.name != "DeadlinePassed":
            yield f"{record} has no cause"
        if is_ours and cause is not None and cause not in before and cause not in refused:
            yield f"{record} has cause {cause}, and there is no such event before it"
        before.add(record.id)
