"""The chain of a run's records: numbered, each bound to the exact bytes of the one before."""

import re
from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256

from immutables import Map
from msgspec import Struct, field
from msgspec.structs import replace

from events.codec import HistoryEvent, read_history
from events.envelope import GENESIS_HASH, write_history
from events.event import Event
from events.evolve import evolve, lose
from events.state import Project


class Head(Struct, frozen=True):
    """The last record of a run: its number and the SHA-256 of its bytes.

    `marks` are the first 8 bytes of the SHA-256 of each of the run's records, one after another, as long as the
    run goes on and all of them have been seen; else it is empty. They tell a record that is repeated from
    another one in its place.
    """

    sequence: int
    digest: str
    marks: bytes = b""


NO_HEAD = Head(-1, GENESIS_HASH)
_MARK_BYTES = 8
_ENDS = ("autopack.RunCompleted.", "autopack.RunFailed.")

Heads = Map[tuple[str, str], Head]
"""Heads by (project, run id)."""


def next_head(head: Head, type_name: str, value: bytes) -> Head:
    """The head after the record that extends the chain."""
    digest, sequence = sha256(value), head.sequence + 1
    is_seen_whole = len(head.marks) == _MARK_BYTES * sequence
    keeps = is_seen_whole and not type_name.startswith(_ENDS)
    return Head(sequence, digest.hexdigest(), head.marks + digest.digest()[:_MARK_BYTES] if keeps else b"")


class HistoryRecord(Struct, frozen=True):
    """A record as it is written to the history."""

    project: str
    run_id: str
    type_name: str
    value: bytes


def chain(heads: Heads, project: str, events: Iterable[Event]) -> tuple[list[HistoryRecord], Heads]:
    """Number events and bind each to the record before; the heads afterwards."""
    records = []
    for event in events:
        key = (project, event.run_id)
        head = heads.get(key, NO_HEAD)
        value = write_history(event, project, head.sequence + 1, head.digest)
        records.append(HistoryRecord(project, event.run_id, event.data.type_name(), value))
        heads = heads.set(key, next_head(head, event.data.type_name(), value))
    return records, heads


class Link(StrEnum):
    """How a record stands to the head of its run."""

    EXTENDS = "extends"
    REPEATS = "repeats"
    FORKS = "forks"


def link(head: Head, sequence: int, prevhash: str, value: bytes) -> Link:
    """Whether a record is the next one, one seen before, or one that does not fit: a fork.

    One that is older than the head is told from what stood in its place as far as the head's marks go.
    """
    if sequence == head.sequence + 1:
        return Link.EXTENDS if prevhash == head.digest else Link.FORKS
    if sequence > head.sequence:
        return Link.FORKS
    digest = sha256(value)
    if sequence == head.sequence:
        return Link.REPEATS if digest.hexdigest() == head.digest else Link.FORKS
    mark = head.marks[_MARK_BYTES * sequence :][:_MARK_BYTES]
    return Link.REPEATS if mark in (b"", digest.digest()[:_MARK_BYTES]) else Link.FORKS


class PartitionState(Struct, frozen=True):
    """All that a supervisor knows of a partition, folded from its history."""

    projects: Map[str, Project] = field(default_factory=Map)
    heads: Heads = field(default_factory=Map)
    quarantined: Map[tuple[str, str], str] = field(default_factory=Map)

    def project(self, project_id: str) -> Project:
        """The project, empty where nothing was ever heard of it."""
        return self.projects.get(project_id) or Project(project_id)


def fold(state: PartitionState, value: bytes, type_name: str | None = None) -> PartitionState:
    """The state after one more record of the history; raises UnreadableRecord.

    A repeated record changes nothing. One that does not extend its run's chain, or that cannot have happened to
    the run as it stands, puts that run, and no other, into quarantine.
    """
    record = read_history(value, type_name)
    key = (record.project, record.event.run_id)
    if key in state.quarantined:
        return state
    head = state.heads.get(key, NO_HEAD)
    match link(head, record.sequence, record.prevhash, value):
        case Link.REPEATS:
            return state
        case Link.FORKS:
            return _quarantined(state, record, "does not extend the chain")
        case Link.EXTENDS:
            return _extended(state, record, head, value)


def _extended(state: PartitionState, record: HistoryEvent, head: Head, value: bytes) -> PartitionState:
    try:
        project = evolve(state.project(record.project), record.event)
    except (MemoryError, RecursionError):
        raise  # of this machine at this moment: the next fold may come to another end
    except Exception as error:  # whatever the rules meet in an event that they did not expect
        return _quarantined(state, record, f"cannot be folded: {_said(error)}")
    key = (record.project, record.event.run_id)
    return replace(
        state,
        projects=state.projects.set(project.project_id, project),
        heads=state.heads.set(key, next_head(head, record.event.data.type_name(), value)),
    )


def _quarantined(state: PartitionState, record: HistoryEvent, fault: str) -> PartitionState:
    """The run stays as it was before the record, lost to its project: it is not begun, and holds no place."""
    run_id = record.event.run_id
    reason = f"record {record.sequence} ({record.event.id}) {fault}"
    project = state.project(record.project)
    if run_id in project.runs:
        project = lose(project, run_id)
    return replace(
        state,
        projects=state.projects.set(project.project_id, project),
        quarantined=state.quarantined.set((record.project, run_id), reason),
    )


_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
LONGEST_SAYING = 500


def _said(error: Exception) -> str:
    """The error in words that every process finds: they become part of what is written."""
    return _ADDRESS.sub("", f"{type(error).__name__}: {error}")[:LONGEST_SAYING]
