"""What the history of scripted runs has to hold, whatever died meanwhile: no more and no less than the script."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from faults.builds import CANCELLED, REFUSED, RUN, kind_of
from faults.invariants.evidence import Log, Record

COUNTS: Mapping[str, Mapping[str, int]] = {
    "plain": {"BuildRequested": 1, "BuildSucceeded": 1, "SnapshotCreated": 1},
    "mended": {"BuildRequested": 2, "BuildSucceeded": 2, "ChecksFailed": 1, "SnapshotCreated": 1},
    "audited": {"BuildRequested": 2, "BuildSucceeded": 2, "AuditCompleted": 2, "SnapshotCreated": 1},
}
"""How often each of these stands in the history of a phase, by the behaviour that its id begins with."""
COUNTED = ("BuildRequested", "BuildSucceeded", "ChecksFailed", "AuditCompleted", "SnapshotCreated")
FAILURES = ("PrepareFailed", "BuildFailed", "AuditFailed", "PatchRejected", "IntegrationFailed")
"""None of them is in any script."""
ENDED_BY_FORCE = ("WorkRevoked", "DeadlinePassed", "PhaseFailed", "RunFailed")
"""These only where somebody has cancelled; then whoever was at work says that it was revoked."""


def violations(log: Log) -> Iterator[str]:
    """Runs that are not as their script has them: tried again, given up, or not even to be admitted."""
    for run, records in log.runs.items():
        kind, names = kind_of(run[1]), {record.name for record in records}
        if kind == REFUSED:
            yield f"run {'/'.join(run)} was to be refused, and is in the history"
        if kind in (RUN, CANCELLED):
            is_whole = "RunCompleted" in names or kind == RUN
            yield from (f"{record} is in no script" for record in records if _is_wrong(record, is_whole))
            yield from _counts(records, is_whole)


def _is_wrong(record: Record, is_whole: bool) -> bool:
    if record.name in FAILURES:
        return is_whole or record.data.get("failure") != "revoked"
    return is_whole and record.name in ENDED_BY_FORCE


def _counts(records: Sequence[Record], is_whole: bool) -> Iterator[str]:
    """Of a run that was cancelled there may be less."""
    found = Counter((record.data.get("phase_id"), record.name) for record in records)
    for phase in records[0].data.get("phases", ()):
        phase_id = phase["phase_id"]
        script = COUNTS[phase_id.partition("-")[0]]
        for name in COUNTED:
            count, wanted = found[phase_id, name], script.get(name, 0)
            if count > wanted or (is_whole and count < wanted):
                yield f"run {'/'.join(records[0].run)}, phase {phase_id}: {name} {count} times, and not {wanted}"
