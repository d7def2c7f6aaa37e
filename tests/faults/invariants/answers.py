"""Beside I1 to I8: a request has one answer and one claim that stands, a phase one snapshot."""

from collections import Counter
from collections.abc import Iterator, Sequence

from faults.invariants.evidence import ANSWERS, Evidence, Record

_ASKED_BY = {answer: request for request, answers in ANSWERS.items() for answer in answers}


def violations(evidence: Evidence) -> Iterator[str]:
    """Answers and claims that nothing has asked for, or that come again."""
    for records in evidence.log.runs.values():
        yield from _answers(records)
        yield from _claims(records)
        yield from _snapshots(records)


def _answers(records: Sequence[Record]) -> Iterator[str]:
    asked: dict[str, str] = {}
    answered: dict[str, Record] = {}
    for record in records:
        if record.name in ANSWERS:
            asked[record.id] = record.name
        if record.name in _ASKED_BY:
            request_id = str(record.request_id)
            if asked.get(request_id) != _ASKED_BY[record.name]:
                yield f"{record} answers {request_id}, which is no {_ASKED_BY[record.name]} before it"
            if request_id in answered:
                yield f"{record} answers {request_id} again, after {answered[request_id]}"
            answered[request_id] = record


def _claims(records: Sequence[Record]) -> Iterator[str]:
    standing: dict[str, str] = {}
    answered: set[str] = set()
    for record in records:
        if record.name in _ASKED_BY:
            answered.add(str(record.request_id))
        if record.name == "WorkStarted":
            request_id = str(record.request_id)
            if request_id in answered:
                yield f"{record} claims {request_id}, which had been answered"
            if record.data.get("replaces") != standing.get(request_id):
                yield f"{record} replaces {record.data.get('replaces')}, where {standing.get(request_id)} stood"
            standing[request_id] = record.id


def _snapshots(records: Sequence[Record]) -> Iterator[str]:
    made = Counter(record.data.get("phase_id") for record in records if record.name == "SnapshotCreated")
    for phase_id, count in made.items():
        if count > 1:
            yield f"run {'/'.join(records[0].run)} has {count} snapshots of phase {phase_id}"
