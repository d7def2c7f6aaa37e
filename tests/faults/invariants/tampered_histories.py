"""Histories of a whole build with one thing changed: what each sentence of the checker is there to find.

Each takes the evidence as it was gathered and gives a copy, in which the log tells another story.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from faults.invariants.evidence import COMMANDS, HISTORY, REJECTIONS, RESULTS, Acknowledged, Evidence, Record

Tampering = Callable[[Evidence], Evidence]


def _with_records(evidence: Evidence, records: Sequence[Record]) -> Evidence:
    return replace(evidence, log=replace(evidence.log, records=records))


def _without(evidence: Evidence, gone: Callable[[Record], bool]) -> Evidence:
    return _with_records(evidence, [record for record in evidence.log.records if not gone(record)])


def _first(evidence: Evidence, name: str) -> Record:
    return next(record for record in evidence.log.history if record.name == name)


def _changed(record: Record, data: Mapping[str, Any] | None = None, **attributes: Any) -> Record:
    """The record with other attributes or other data, and bytes that say so."""
    event = {**record.event, **attributes, "data": {**record.data, **(data or {})}}
    return replace(record, event=event, value=json.dumps(event).encode())


def _exchanged(evidence: Evidence, name: str, data: Mapping[str, Any] | None = None, **given: Any) -> Evidence:
    """The first event of that name with something else in it, and the links behind it as if it had been so."""
    old = _first(evidence, name)
    return _relinked(
        _with_records(evidence, [r if r is not old else _changed(r, data, **given) for r in _all(evidence)])
    )


def _all(evidence: Evidence) -> Sequence[Record]:
    return evidence.log.records


def _relinked(evidence: Evidence) -> Evidence:
    """With every chain made anew, so that nothing but the story is wrong."""
    digests: dict[tuple[str, str], str] = {}
    records = []
    for record in evidence.log.records:
        if record.topic == HISTORY:
            record = _changed(record, prevhash=digests.get(record.run, "0" * 64))
            digests[record.run] = sha256(record.value).hexdigest()
        records.append(record)
    return _with_records(evidence, records)


def _behind(evidence: Evidence, name: str, *new: Record) -> Evidence:
    """With records behind the first of that name, numbers and links made anew."""
    old = _first(evidence, name)
    records = [one for record in _all(evidence) for one in ((record, *new) if record is old else (record,))]
    counts: Counter[tuple[str, str]] = Counter()
    numbered = []
    for record in records:
        if record.topic == HISTORY:
            record = _changed(record, sequence=counts[record.run])
            counts[record.run] += 1
        numbered.append(record)
    return _relinked(_with_records(replace(evidence, log=replace(evidence.log, ends={})), numbered))


def an_acknowledged_command_is_lost(evidence: Evidence) -> Evidence:
    told = Acknowledged(COMMANDS, 0, 10_000, "a-command-that-nobody-has-seen")
    return replace(evidence, acknowledged=[*evidence.acknowledged, told])


def a_record_is_refused_twice(evidence: Evidence) -> Evidence:
    refused = next(evidence.log.of(REJECTIONS))
    return _with_records(evidence, [*evidence.log.records, replace(refused, offset=refused.offset + 1_000)])


def an_answer_was_never_read(evidence: Evidence) -> Evidence:
    number = max(record.offset for record in evidence.log.records) + 1_000
    answer = replace(_changed(_first(evidence, "BuildSucceeded"), id="unread"), topic=RESULTS, offset=number)
    return _with_records(evidence, [*evidence.log.records, answer])


def an_apply_request_is_never_answered(evidence: Evidence) -> Evidence:
    request = _first(evidence, "ApplyRequested")
    return _without(evidence, lambda r: r.name == "PatchAccepted" and r.request_id == request.id)


def the_history_names_another_candidate(evidence: Evidence) -> Evidence:
    return _exchanged(evidence, "PatchAccepted", {"candidate": "c" * 40})


def an_event_is_missing(evidence: Evidence) -> Evidence:
    gone = _first(evidence, "PhaseStarted")
    return _without(evidence, lambda record: record is gone)


def an_event_stands_twice(evidence: Evidence) -> Evidence:
    twice = _first(evidence, "PhaseStarted")
    return _with_records(evidence, [c for r in _all(evidence) for c in ((r, r) if r is twice else (r,))])


def a_run_is_spread_over_two_partitions(evidence: Evidence) -> Evidence:
    last = _first(evidence, "RunCompleted")
    elsewhere = replace(last, partition=last.partition + 1)
    return _with_records(evidence, [elsewhere if r is last else r for r in _all(evidence)])


def a_snapshot_went_upon_another_head(evidence: Evidence) -> Evidence:
    return _exchanged(evidence, "IntegrationRequested", {"expected_head": "c" * 40})


def a_phase_names_another_commit(evidence: Evidence) -> Evidence:
    return _exchanged(evidence, "PhaseCompleted", {"commit": "c" * 40})


def a_snapshot_is_of_another_commit(evidence: Evidence) -> Evidence:
    return _exchanged(evidence, "IntegrationRequested", {"candidate": "c" * 40})


def a_run_names_another_head(evidence: Evidence) -> Evidence:
    return _exchanged(evidence, "RunCompleted", {"head_commit": "c" * 40})


def a_run_has_no_end(evidence: Evidence) -> Evidence:
    return _without(evidence, lambda record: record.name == "RunCompleted")


def a_run_ends_twice(evidence: Evidence) -> Evidence:
    end = _first(evidence, "RunCompleted")
    return _behind(evidence, "RunCompleted", _changed(end, id="another-end"))


def a_phase_has_no_end(evidence: Evidence) -> Evidence:
    phase_id = _first(evidence, "PhaseCompleted").data["phase_id"]
    return _without(evidence, lambda r: r.name == "PhaseCompleted" and r.data["phase_id"] == phase_id)


def a_phase_ends_twice(evidence: Evidence) -> Evidence:
    again = _changed(_first(evidence, "PhaseCompleted"), id="another-end")
    return _behind(evidence, "PhaseCompleted", again)


def bytes_were_changed(evidence: Evidence) -> Evidence:
    """As little as a space, which changes nothing of what is said."""
    old = _first(evidence, "RunAccepted")
    new = replace(old, value=old.value[:-1] + b" }")
    return _with_records(evidence, [new if record is old else record for record in _all(evidence)])


def a_cause_does_not_exist(evidence: Evidence) -> Evidence:
    return _exchanged(evidence, "PhaseStarted", causationid="nothing-of-that-name")


def an_event_has_no_cause(evidence: Evidence) -> Evidence:
    return _exchanged(evidence, "PhaseStarted", causationid=None)


def something_comes_after_the_end(evidence: Evidence) -> Evidence:
    late = _changed(_first(evidence, "WorkStarted"), id="a-late-claim")
    return _behind(evidence, "RunCompleted", late)


def a_header_says_something_else(evidence: Evidence) -> Evidence:
    old = _first(evidence, "PhaseStarted")
    new = replace(old, headers={**old.headers, "type": b"autopack.PhaseCompleted.v1"})
    return _with_records(evidence, [new if record is old else record for record in _all(evidence)])


def a_phase_has_two_snapshots(evidence: Evidence) -> Evidence:
    again = _changed(_first(evidence, "SnapshotCreated"), id="another-snapshot")
    return _behind(evidence, "SnapshotCreated", again)


def an_attempt_has_two_answers(evidence: Evidence) -> Evidence:
    again = _changed(_first(evidence, "BuildSucceeded"), id="another-answer")
    return _behind(evidence, "BuildSucceeded", again)


def an_answer_answers_nothing(evidence: Evidence) -> Evidence:
    return _exchanged(evidence, "ChecksPassed", {"request_id": "nobodys-request"})


def a_claim_replaces_nothing(evidence: Evidence) -> Evidence:
    again = _changed(_first(evidence, "WorkStarted"), id="another-claim")
    return _behind(evidence, "WorkStarted", again)


TAMPERED_HISTORIES: Mapping[str, Sequence[Tampering]] = {
    "I1": (
        an_acknowledged_command_is_lost,
        a_record_is_refused_twice,
        an_answer_was_never_read,
    ),
    "I2": (
        an_apply_request_is_never_answered,
        the_history_names_another_candidate,
    ),
    "I3": (
        an_event_is_missing,
        an_event_stands_twice,
        a_run_is_spread_over_two_partitions,
    ),
    "I5": (
        a_snapshot_went_upon_another_head,
        a_phase_names_another_commit,
        a_snapshot_is_of_another_commit,
        a_run_names_another_head,
    ),
    "I7": (
        a_run_has_no_end,
        a_run_ends_twice,
        a_phase_has_no_end,
        a_phase_ends_twice,
    ),
    "I8": (
        bytes_were_changed,
        a_cause_does_not_exist,
        an_event_has_no_cause,
        something_comes_after_the_end,
        a_header_says_something_else,
    ),
    "answers": (
        a_phase_has_two_snapshots,
        an_attempt_has_two_answers,
        an_answer_answers_nothing,
        a_claim_replaces_nothing,
    ),
}
"""By the invariant that each breaks."""
