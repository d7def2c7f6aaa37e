"""What the invariants are judged on: what was found in log, tables, repositories, processes and folders.

Values alone: whoever has one judges it without asking a server again, and a test may change a copy.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

COMMANDS, RESULTS = "autopack.commands", "autopack.results"
HISTORY, REJECTIONS = "autopack.events", "autopack.rejections"
TOPICS = (COMMANDS, RESULTS, HISTORY, REJECTIONS)
TERMINAL = ("RunCompleted", "RunFailed")
ANSWERS: Mapping[str, tuple[str, ...]] = {
    "PrepareRequested": ("RunPrepared", "PrepareFailed"),
    "BuildRequested": ("BuildSucceeded", "BuildFailed"),
    "AuditRequested": ("AuditCompleted", "AuditFailed"),
    "ApplyRequested": ("PatchAccepted", "PatchRejected"),
    "ChecksRequested": ("ChecksPassed", "ChecksFailed"),
    "IntegrationRequested": ("SnapshotCreated", "IntegrationFailed"),
}
"""What each request is answered with."""

Run = tuple[str, str]
"""Project and run id."""
Place = tuple[str, int]
"""Topic, without a prefix, and partition."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record as the log keeps it. `event` is its value as JSON, empty where it is no JSON object."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Mapping[str, bytes]
    recorded_at: datetime
    event: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The event's name, without prefix and version."""
        parts = str(self.event.get("type")).split(".")
        return parts[1] if len(parts) == 3 else ""

    @property
    def id(self) -> str:
        """The event's id."""
        return str(self.event.get("id"))

    @property
    def run(self) -> Run:
        """Whose event it is."""
        return str(self.event.get("project")), str(self.event.get("runid"))

    @property
    def data(self) -> Mapping[str, Any]:
        """What happened."""
        data = self.event.get("data")
        return data if isinstance(data, dict) else {}

    @property
    def request_id(self) -> str | None:
        """The request that it claims, answers, revokes or times out."""
        return self.data.get("request_id")

    def __str__(self) -> str:
        where = f"{self.topic}/{self.partition}/{self.offset}"
        return f"run {'/'.join(self.run)}, {self.name} {self.event.get('sequence')} at {where}"


@dataclass(frozen=True)
class Log:
    """All records that are committed, those of a place in the order of their offsets.

    `passed` says up to where the supervisor has read each place of commands and results. `ends` are set where
    offsets are contiguous from 0. `unsettled` names transactions that stand open, or what they keep readers from.
    """

    records: Sequence[Record]
    passed: Mapping[Place, int]
    ends: Mapping[Place, int] = field(default_factory=dict)
    unsettled: Sequence[str] = ()

    def of(self, topic: str) -> Iterator[Record]:
        """The records of a topic."""
        return (record for record in self.records if record.topic == topic)

    @cached_property
    def history(self) -> Sequence[Record]:
        """The history of every partition, one after another."""
        return tuple(self.of(HISTORY))

    @cached_property
    def runs(self) -> Mapping[Run, Sequence[Record]]:
        """The history of each run."""
        found: dict[Run, list[Record]] = {}
        for record in self.history:
            found.setdefault(record.run, []).append(record)
        return found


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A submission whose emitter was told that it is in the log, and where."""

    topic: str
    partition: int
    offset: int
    event_id: str


@dataclass(frozen=True, slots=True)
class Start:
    """A start of an agent: which run's, for which phase and attempt, when; its folder, if that is known."""

    role: str
    run_id: str
    phase_id: str
    attempt: int
    at: datetime
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit object, reachable or not. `trailers` are those of Autopack's."""

    id: str
    tree: str
    parents: tuple[str, ...]
    trailers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as git shows it.

    `moves` are those that reflogs tell of, by ref, the oldest first; `complaints` what git's own check says;
    `changes` what differs in a work tree; `stood` the protected refs as they were at the beginning.
    """

    path: Path
    refs: Mapping[str, str]
    commits: Mapping[str, Commit]
    moves: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    complaints: Sequence[str] = ()
    changes: Sequence[str] = ()
    locks: Sequence[Path] = ()
    stood: Mapping[str, str] = field(default_factory=dict)

    def history_of(self, commit: str | None) -> set[str]:
        """A commit with all its ancestors that are there."""
        seen: set[str] = set()
        waiting = [commit] if commit is not None else []
        while waiting:
            name = waiting.pop()
            if name in self.commits and name not in seen:
                seen.add(name)
                waiting += self.commits[name].parents
        return seen


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a projection has read a place, and why it stands still, if it does."""

    projection: str
    topic: str
    partition: int
    next_offset: int
    error: str | None


Rows = Mapping[str, Counter[str]]
"""The rows of each table, each as one JSON object."""
Files = Mapping[str, str]
"""The digest of each file, by its path in the folder."""


@dataclass(frozen=True, slots=True)
class ReadModels:
    """Tables and run files as they are served, and as made again from the log."""

    served: Rows
    rebuilt: Rows
    checkpoints: Sequence[Checkpoint] = ()
    quarantined: Mapping[Run, str] = field(default_factory=dict)
    served_files: Files = field(default_factory=dict)
    rebuilt_files: Files = field(default_factory=dict)
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What should have gone, each in a few words; `early` is what that was before anything was collected."""

    processes: Sequence[str] = ()
    files: Sequence[str] = ()
    locks: Sequence[str] = ()
    early: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it. `repositories` are the targets, `mirrors` those of the services.

    `disturbed` names the services of which a process was killed or stopped; `kept` says when the answer of a
    request was kept, by the request's id.
    """

    log: Log
    acknowledged: Sequence[Acknowledged]
    read_models: ReadModels
    repositories: Sequence[Repository]
    mirrors: Sequence[Repository]
    leftovers: Leftovers
    starts: Sequence[Start]
    disturbed: frozenset[str] = frozenset()
    kept: Mapping[str, datetime] = field(default_factory=dict)
