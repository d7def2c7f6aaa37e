"""I3: the events of a run are numbered without a gap and without a double, in one partition."""

from collections.abc import Iterator, Sequence

from faults.invariants.evidence import HISTORY, Evidence, Log, Record, Run


def violations(evidence: Evidence) -> Iterator[str]:
    """Wrong numbers, repeated ids, runs over several partitions, and offsets that are missing in the history."""
    for run, records in evidence.log.runs.items():
        yield from _numbers(records)
        yield from _ids(records)
        partitions = sorted({record.partition for record in records})
        if len(partitions) > 1:
            yield f"run {'/'.join(run)} is in partitions {partitions}"
    yield from _projects(evidence.log)
    yield from _offsets(evidence.log)


def _numbers(records: Sequence[Record]) -> Iterator[str]:
    expected = 0
    for record in records:
        sequence = record.event.get("sequence")
        if sequence != expected:
            yield f"{record} should be number {expected} of its run"
        expected = (sequence if isinstance(sequence, int) else expected) + 1


def _ids(records: Sequence[Record]) -> Iterator[str]:
    seen: set[tuple[str, str]] = set()
    for record in records:
        identity = (str(record.event.get("source")), record.id)
        if identity in seen:
            yield f"{record} has id {record.id}, which its run has already"
        seen.add(identity)


def _projects(log: Log) -> Iterator[str]:
    homes: dict[str, set[int]] = {}
    for project, run_id in log.runs:
        homes.setdefault(project, set()).update(record.partition for record in _of(log, (project, run_id)))
    for project, partitions in homes.items():
        if len(partitions) > 1:
            yield f"project {project} is in partitions {sorted(partitions)}"


def _of(log: Log, run: Run) -> Sequence[Record]:
    return log.runs[run]


def _offsets(log: Log) -> Iterator[str]:
    """Where the log says that its offsets are contiguous, every one up to the end has to be there."""
    for (topic, partition), end in log.ends.items():
        if topic == HISTORY:
            there = [record.offset for record in log.history if record.partition == partition]
            if missing := sorted(set(range(end)) - set(there)):
                yield f"{topic}/{partition} ends at {end}, and offsets {missing[:10]} are not there"
            if beyond := [offset for offset in there if offset >= end]:
                yield f"{topic}/{partition} ends at {end}, and offsets {beyond[:10]} lie behind that"
