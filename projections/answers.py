"""One row a judgement of a submitted record: what became of it, and how far a reader must be to see it.

A record may be judged several times: submitted again it may be refused because it was admitted before, and an
emitter may use its id for another run. So each judgement is a row of its own, keyed by its place in the log, and
whoever asks chooses among them.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from events.catalogue import EVENT_TYPES, SUBMITTED_TO
from events.families.run import RunAccepted, RunFailed, RunRequested
from events.log.port import StoredRecord
from projections.projection import Entry, Key, Memory, Projection
from projections.refused import read_refused


class Outcome(StrEnum):
    """What became of a submitted record.

    A run's request is `undecided` until the run is accepted or has failed; all other records are accepted by
    entering the history.
    """

    UNDECIDED = "undecided"
    ACCEPTED = "accepted"
    FAILED = "failed"
    REJECTED = "rejected"


class AnswerRow(Struct, frozen=True):
    """An answer: `log_offset` is where the record stands, in the history or among the rejections.

    `decided_offset` is where the answer stands: for a run's request that of the event which decided it.
    """

    rejected: bool
    partition: int
    log_offset: int
    command: str
    project: str
    run_id: str
    source: str
    event_id: str
    type: str
    decided_offset: int
    outcome: str
    detail: str = ""
    faults: Sequence[Mapping[str, Any]] = ()


def command_key(project: str, source: str, event_id: str) -> str:
    """One key of bounded length for what an emitter chose freely."""
    return sha256("\x1f".join((project, source, event_id)).encode("utf-8", "replace")).hexdigest()


def undecided(entry: Entry) -> Key | None:
    """The run whose request is decided by this event."""
    decides = isinstance(entry.data, RunAccepted | RunFailed)
    return (entry.project, entry.run_id) if decides else None


def project(rows: Mapping[Key, AnswerRow], entry: Entry) -> Iterable[AnswerRow]:
    """The answer to a record that was admitted, or that is decided now."""
    data = entry.data
    match data:
        case RunAccepted():
            return _decided(rows, entry, Outcome.ACCEPTED, "")
        case RunFailed():
            return _decided(rows, entry, Outcome.FAILED, data.reason)
        case _:
            outcome = Outcome.UNDECIDED if isinstance(data, RunRequested) else Outcome.ACCEPTED
            return [_admitted(entry, outcome)]


def _decided(rows: Mapping[Key, AnswerRow], entry: Entry, outcome: Outcome, detail: str) -> list[AnswerRow]:
    return [
        replace(row, outcome=outcome, detail=detail, decided_offset=entry.offset)
        for row in rows.values()
        if row.outcome == Outcome.UNDECIDED
    ]


def _admitted(entry: Entry, outcome: Outcome) -> AnswerRow:
    event = entry.event
    return AnswerRow(
        rejected=False,
        partition=entry.partition,
        log_offset=entry.offset,
        command=command_key(entry.project, event.source, event.id),
        project=entry.project,
        run_id=entry.run_id,
        source=event.source,
        event_id=event.id,
        type=type(event.data).__name__,
        decided_offset=entry.offset,
        outcome=outcome,
    )


def refuse(record: StoredRecord) -> Iterable[AnswerRow]:
    """The answer to a refused record, where it can be told whose it is."""
    refused = read_refused(record)
    if refused.source is None or refused.event_id is None:
        return []
    return [
        AnswerRow(
            rejected=True,
            partition=record.partition,
            log_offset=record.offset,
            command=command_key(refused.project, refused.source, refused.event_id),
            project=refused.project,
            run_id=refused.run_id or "",
            source=refused.source,
            event_id=refused.event_id,
            type=(refused.type or "").removeprefix("autopack.").partition(".")[0],
            decided_offset=record.offset,
            outcome=Outcome.REJECTED,
            detail=f"{refused.reason}: {refused.message}" if refused.message else refused.reason,
            faults=refused.faults,
        )
    ]


ANSWERS: Projection[AnswerRow] = Projection(
    name="answers",
    version=2,
    row=AnswerRow,
    key=("rejected", "partition", "log_offset"),
    wanted=frozenset(t for t in EVENT_TYPES if t in SUBMITTED_TO or t in (RunAccepted, RunFailed)),
    project=project,
    refuse=refuse,
    memory=Memory(key=undecided, condition="outcome = 'undecided'"),
)
