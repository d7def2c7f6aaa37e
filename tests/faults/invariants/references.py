"""I5: protected refs stand as they stood; integration branches hold their snapshots, no more and no less."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faults.invariants.evidence import Evidence, Record, Repository, Run

FENCE = "refs/autopack/fence/"
NOWHERE = "0" * 40


@dataclass
class _Owned:
    """The refs that runs may have at a repository; some of them may stand at one of several commits."""

    refs: dict[str, set[str | None]] = field(default_factory=dict)

    def add(self, reference: str, *commits: str | None) -> None:
        self.refs.setdefault(reference, set()).update(commits)

    def set(self, reference: str, commit: str | None) -> None:
        self.refs[reference] = {commit}


def violations(evidence: Evidence) -> Iterator[str]:
    """Refs that are not where they should be, branches that hold something else, and faults that git finds."""
    for repository in evidence.repositories:
        runs = [records for records in evidence.log.runs.values() if _is_at(repository, records)]
        yield from _standing(repository, runs)
        for records in runs:
            yield from _branch(repository, records)
        yield from (f"{repository.path}: the work tree has changed: {line}" for line in repository.changes)
    for repository in (*evidence.repositories, *evidence.mirrors):
        yield from (f"{repository.path}: git finds a fault: {line}" for line in repository.complaints)
    for run, records in evidence.log.runs.items():
        yield from _told(run, records)


def _is_at(repository: Repository, records: Sequence[Record]) -> bool:
    asked = (record.data.get("repository") for record in records)
    named = next((name for name in asked if name), None)
    return named is not None and Path(named.removeprefix("file://")).resolve() == repository.path.resolve()


def _standing(repository: Repository, runs: Sequence[Sequence[Record]]) -> Iterator[str]:
    """Each ref of the repository, compared with what it should be."""
    expected = _Owned({name: {value} for name, value in repository.stood.items()})
    for records in runs:
        _claim(expected, records)
    found = {name: value for name, value in repository.refs.items() if not name.startswith(FENCE)}
    for name in sorted(found.keys() | expected.refs.keys()):
        allowed, actual = expected.refs.get(name, {None}), found.get(name)
        if actual not in allowed:
            should = " or ".join(sorted(value or "nowhere" for value in allowed))
            yield f"{repository.path}: {name} is at {actual or 'nowhere'}, and should be at {should}"


def _claim(expected: _Owned, records: Sequence[Record]) -> None:
    """What a run has made of its refs. An integration that nobody has answered may have landed or not."""
    open_requests: dict[str, Record] = {}
    for record in records:
        match record.name:
            case "IntegrationRequested":
                open_requests[record.id] = record
            case "SnapshotCreated":
                asked = open_requests.pop(record.data["request_id"], None)
                if asked is not None:
                    expected.set(_branch_of(asked), record.data["commit"])
                expected.set(f"refs/tags/{record.data['tag']}", record.data["commit"])
            case "IntegrationFailed":
                asked = open_requests.pop(record.data["request_id"], None)
                if asked is not None and record.data.get("failure") == "moved":
                    expected.set(_branch_of(asked), record.data["head"])
            case "RunPromoted":
                branch = f"refs/heads/{record.data['branch']}"
                expected.add(branch, record.data["commit"])
    for asked in open_requests.values():
        expected.add(_branch_of(asked), asked.data["expected_head"], asked.data["candidate"])
        expected.add(f"refs/tags/{asked.data['tag']}", None, asked.data["candidate"])


def _branch_of(asked: Record) -> str:
    return f"refs/heads/{asked.data['branch']}"


def _branch(repository: Repository, records: Sequence[Record]) -> Iterator[str]:
    """The branch holds the run's snapshots upon its base, and what somebody else has put there by hand."""
    asked = next((record for record in records if record.name == "IntegrationRequested"), None)
    accepted = next((record for record in records if record.name == "RunAccepted"), None)
    if asked is None or accepted is None:
        return
    branch, base = _branch_of(asked), accepted.data["base_commit"]
    candidates = {r.data["candidate"] for r in records if r.name == "IntegrationRequested"}
    snapshots = [r.data["commit"] for r in records if r.name == "SnapshotCreated"]
    known = repository.history_of(base)
    for record in records:
        if record.name == "IntegrationFailed":
            known |= repository.history_of(record.data.get("head")) - candidates
    held = repository.history_of(repository.refs.get(branch))
    for commit in sorted(held - known - set(snapshots) - _unanswered(records)):
        yield f"{repository.path}: {branch} holds {commit}, which is no snapshot of its run"
    for commit in (commit for commit in snapshots if commit not in held):
        yield f"{repository.path}: {branch} does not hold {commit}, a snapshot of its run"
    if snapshots and not repository.moves.get(branch):
        yield f"{repository.path}: nothing tells how {branch} has moved"
    yield from _moves(repository, branch)


def _unanswered(records: Sequence[Record]) -> set[str]:
    """The candidates that may have landed or not."""
    answered = {r.data["request_id"] for r in records if r.name in ("SnapshotCreated", "IntegrationFailed")}
    asked = (r for r in records if r.name == "IntegrationRequested" and r.id not in answered)
    return {record.data["candidate"] for record in asked}


def _moves(repository: Repository, branch: str) -> Iterator[str]:
    for old, new in repository.moves.get(branch, ()):
        if old != NOWHERE and old not in repository.history_of(new):
            yield f"{repository.path}: {branch} went from {old} to {new}, which is no way forward"


def _told(run: Run, records: Sequence[Record]) -> Iterator[str]:
    """The history's own story of the branch: each snapshot upon the one before, each phase with its own."""
    requests = {record.id: record.data for record in records if record.name == "IntegrationRequested"}
    snapshots: dict[str, Mapping] = {}
    head = base = None
    for record in records:
        match record.name:
            case "RunAccepted":
                base = record.data["base_commit"]
            case "SnapshotCreated":
                asked = requests.get(record.data["request_id"], {})
                if asked.get("candidate") != record.data["commit"] or asked.get("tag") != record.data["tag"]:
                    yield f"{record} is of {record.data['commit']}, which was not asked for"
                if asked.get("expected_head") != head:
                    yield f"{record} went upon {asked.get('expected_head')}, where the head was {head}"
                head = record.data["commit"]
                snapshots[record.data["phase_id"]] = record.data
            case "IntegrationFailed" if record.data.get("failure") == "moved":
                head = record.data["head"]
            case "PhaseCompleted":
                made = snapshots.get(record.data["phase_id"], {})
                if (record.data["commit"], record.data["tag"]) != (made.get("commit"), made.get("tag")):
                    yield f"{record} names {record.data['commit']}, and the snapshot is {made.get('commit')}"
            case "RunCompleted" | "RunFailed" if record.data.get("head_commit") != (head or base):
                yield f"{record} names {record.data.get('head_commit')} as the head, which is {head or base}"
