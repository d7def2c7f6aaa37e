"""I7: every run has come to its end, once, and so has every phase that began."""

from collections.abc import Iterator, Sequence

from faults.invariants.evidence import TERMINAL, Evidence, Record

_ENDS_OF_PHASES = ("PhaseCompleted", "PhaseFailed", "PhaseSkipped")


def violations(evidence: Evidence) -> Iterator[str]:
    """Runs and phases without an end, or with several."""
    for run, records in evidence.log.runs.items():
        ends = [record for record in records if record.name in TERMINAL]
        if not ends:
            yield f"run {'/'.join(run)} has not ended; its last event is {records[-1]}"
        elif len(ends) > 1:
            yield f"run {'/'.join(run)} has ended {len(ends)} times, the last time with {ends[-1]}"
        if ends:
            yield from _phases(records)


def _phases(records: Sequence[Record]) -> Iterator[str]:
    ends: dict[str, list[Record]] = {}
    begun: dict[str, Record] = {}
    for record in records:
        if record.name == "PhaseStarted":
            begun[record.data["phase_id"]] = record
        if record.name in _ENDS_OF_PHASES:
            ends.setdefault(record.data["phase_id"], []).append(record)
    for phase_id in begun.keys() - ends.keys():
        yield f"{begun[phase_id]}: phase {phase_id} began, and has not ended"
    for phase_id, found in ends.items():
        if len(found) > 1:
            yield f"{found[-1]}: phase {phase_id} has ended {len(found)} times"
