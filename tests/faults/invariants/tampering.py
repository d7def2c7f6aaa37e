"""Evidence of a whole build, with one thing changed: what each sentence of the checker is there to find.

Each takes the evidence as it was gathered and gives a copy that speaks of a world where something went wrong.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

from faults.invariants.evidence import COMMANDS, HISTORY, REJECTIONS, Acknowledged, Commit, Evidence, Record

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


def an_apply_request_is_never_answered(evidence: Evidence) -> Evidence:
    request = _first(evidence, "ApplyRequested")
    return _without(evidence, lambda r: r.name == "PatchAccepted" and r.request_id == request.id)


def an_apply_request_has_two_commits(evidence: Evidence) -> Evidence:
    request = _first(evidence, "ApplyRequested")
    return _with_commit(evidence, Commit("c" * 40, "d" * 40, ("e" * 40,), {"Event": request.id}))


def a_commit_was_made_that_nobody_asked_for(evidence: Evidence) -> Evidence:
    return _with_commit(evidence, Commit("c" * 40, "d" * 40, ("e" * 40,), {"Event": "nobodys-request"}))


def _with_commit(evidence: Evidence, commit: Commit) -> Evidence:
    first, *others = evidence.mirrors
    return replace(evidence, mirrors=[replace(first, commits={**first.commits, commit.id: commit}), *others])


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


def a_row_is_missing(evidence: Evidence) -> Evidence:
    return _with_rows(evidence, "phases_v1", lambda rows: rows - Counter([min(rows)]))


def a_row_is_another(evidence: Evidence) -> Evidence:
    return _with_rows(
        evidence, "runs_v1", lambda r: r - Counter([min(r)]) + Counter([min(r)[:-1] + ', "more": 1}'])
    )


def an_event_is_in_no_timeline(evidence: Evidence) -> Evidence:
    """Neither in the one that is served, nor in a rebuild."""
    once = _with_rows(evidence, "timeline_v1", lambda rows: rows - Counter([min(rows)]))
    return replace(once, read_models=replace(once.read_models, rebuilt=once.read_models.served))


def _with_rows(evidence: Evidence, table: str, change: Callable[[Counter[str]], Counter[str]]) -> Evidence:
    models = evidence.read_models
    served = {**models.served, table: change(models.served[table])}
    return replace(evidence, read_models=replace(models, served=served))


def a_run_file_is_another(evidence: Evidence) -> Evidence:
    models = evidence.read_models
    files = {**models.served_files, min(models.served_files): "another digest"}
    return replace(evidence, read_models=replace(models, served_files=files))


def a_projection_has_stopped(evidence: Evidence) -> Evidence:
    first, *others = evidence.read_models.checkpoints
    stopped = replace(first, error="at offset 3: ValueError")
    return replace(evidence, read_models=replace(evidence.read_models, checkpoints=[stopped, *others]))


def a_projection_lags_behind(evidence: Evidence) -> Evidence:
    lagging = [replace(one, next_offset=0) for one in evidence.read_models.checkpoints]
    return replace(evidence, read_models=replace(evidence.read_models, checkpoints=lagging))


def there_are_no_read_models(evidence: Evidence) -> Evidence:
    empty = {table: Counter[str]() for table in evidence.read_models.rebuilt}
    return replace(evidence, read_models=replace(evidence.read_models, served=empty, checkpoints=[]))


def _with_refs(evidence: Evidence, change: Callable[[dict[str, str]], dict[str, str]]) -> Evidence:
    """With the refs of the repository of the first snapshot."""
    branch = _branch(evidence)
    found = [
        replace(one, refs=change(dict(one.refs))) if branch in one.refs else one for one in evidence.repositories
    ]
    return replace(evidence, repositories=found)


def _branch(evidence: Evidence) -> str:
    return f"refs/heads/{_first(evidence, 'IntegrationRequested').data['branch']}"


def a_protected_ref_was_removed(evidence: Evidence) -> Evidence:
    return _with_refs(evidence, lambda refs: {n: v for n, v in refs.items() if n != "refs/heads/main"})


def another_branch_was_made(evidence: Evidence) -> Evidence:
    return _with_refs(evidence, lambda refs: {**refs, "refs/heads/stray": refs["refs/heads/main"]})


def a_tag_is_missing(evidence: Evidence) -> Evidence:
    return _with_refs(evidence, lambda refs: {n: v for n, v in refs.items() if not n.startswith("refs/tags/")})


def a_branch_was_set_back(evidence: Evidence) -> Evidence:
    branch, base = _branch(evidence), _first(evidence, "RunAccepted").data["base_commit"]
    return _with_refs(evidence, lambda refs: {**refs, branch: base})


def a_branch_holds_a_commit_of_somebody_else(evidence: Evidence) -> Evidence:
    branch = _branch(evidence)

    def with_commit(one):
        if branch not in one.refs:
            return one
        commit = Commit("c" * 40, "d" * 40, (one.refs[branch],), {})
        return replace(one, refs={**one.refs, branch: commit.id}, commits={**one.commits, commit.id: commit})

    return replace(evidence, repositories=[with_commit(one) for one in evidence.repositories])


def a_branch_went_back_and_forth(evidence: Evidence) -> Evidence:
    branch, base = _branch(evidence), _first(evidence, "RunAccepted").data["base_commit"]

    def with_moves(one):
        head = one.refs.get(branch)
        return replace(one, moves={branch: [("0" * 40, base), (base, head), (head, base), (base, head)]})

    return replace(evidence, repositories=[with_moves(one) for one in evidence.repositories])


def git_finds_a_fault(evidence: Evidence) -> Evidence:
    first, *others = evidence.repositories
    return replace(evidence, repositories=[replace(first, complaints=["missing blob"]), *others])


def a_work_tree_was_touched(evidence: Evidence) -> Evidence:
    first, *others = evidence.repositories
    return replace(evidence, repositories=[replace(first, changes=[" M README.md"]), *others])


def a_snapshot_went_upon_another_head(evidence: Evidence) -> Evidence:
    return _exchanged(evidence, "IntegrationRequested", {"expected_head": "c" * 40})


def a_phase_names_another_commit(evidence: Evidence) -> Evidence:
    return _exchanged(evidence, "PhaseCompleted", {"commit": "c" * 40})


def a_process_is_left(evidence: Evidence) -> Evidence:
    return replace(evidence, leftovers=replace(evidence.leftovers, processes=["process 4711 (sleep 600)"]))


def a_clone_is_left(evidence: Evidence) -> Evidence:
    return replace(evidence, leftovers=replace(evidence.leftovers, folders=["work/claim"]))


def a_lock_is_held(evidence: Evidence) -> Evidence:
    return replace(evidence, leftovers=replace(evidence.leftovers, locks=["writers.flock"]))


def a_transaction_is_open(evidence: Evidence) -> Evidence:
    return replace(evidence, log=replace(evidence.log, unsettled=["autopack.events/0 from offset 1 up to 2"]))


def a_run_has_no_end(evidence: Evidence) -> Evidence:
    return _without(evidence, lambda record: record.name == "RunCompleted")


def a_run_ends_twice(evidence: Evidence) -> Evidence:
    end = _first(evidence, "RunCompleted")
    return _behind(evidence, "RunCompleted", _changed(end, id="another-end"))


def a_phase_has_no_end(evidence: Evidence) -> Evidence:
    phase_id = _first(evidence, "PhaseCompleted").data["phase_id"]
    return _without(evidence, lambda r: r.name == "PhaseCompleted" and r.data["phase_id"] == phase_id)


def bytes_were_changed(evidence: Evidence) -> Evidence:
    """As little as a space, which changes nothing of what is said."""
    old = _first(evidence, "RunAccepted")
    new = replace(old, value=old.value[:-1] + b" }")
    return _with_records(evidence, [new if record is old else record for record in _all(evidence)])


def a_cause_does_not_exist(evidence: Evidence) -> Evidence:
    return _exchanged(evidence, "PhaseStarted", causationid="nothing-of-that-name")


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


def an_agent_was_started_again(evidence: Evidence) -> Evidence:
    return replace(evidence, starts=[*evidence.starts, evidence.starts[0]])


def an_agent_was_started_after_the_answer(evidence: Evidence) -> Evidence:
    first, *others = evidence.starts
    return replace(evidence, starts=[replace(first, at=first.at + timedelta(hours=1)), *others])


def an_agent_was_started_for_nobody(evidence: Evidence) -> Evidence:
    return replace(evidence, starts=[*evidence.starts, replace(evidence.starts[0], phase_id="of-no-plan")])


TAMPERED: Mapping[str, Sequence[Tampering]] = {
    "I1": (an_acknowledged_command_is_lost, a_record_is_refused_twice),
    "I2": (
        an_apply_request_is_never_answered,
        an_apply_request_has_two_commits,
        a_commit_was_made_that_nobody_asked_for,
        the_history_names_another_candidate,
    ),
    "I3": (an_event_is_missing, an_event_stands_twice, a_run_is_spread_over_two_partitions),
    "I4": (
        a_row_is_missing,
        a_row_is_another,
        an_event_is_in_no_timeline,
        a_run_file_is_another,
        a_projection_has_stopped,
        a_projection_lags_behind,
        there_are_no_read_models,
    ),
    "I5": (
        a_protected_ref_was_removed,
        another_branch_was_made,
        a_tag_is_missing,
        a_branch_was_set_back,
        a_branch_holds_a_commit_of_somebody_else,
        a_branch_went_back_and_forth,
        git_finds_a_fault,
        a_work_tree_was_touched,
        a_snapshot_went_upon_another_head,
        a_phase_names_another_commit,
    ),
    "I6": (a_process_is_left, a_clone_is_left, a_lock_is_held, a_transaction_is_open),
    "I7": (a_run_has_no_end, a_run_ends_twice, a_phase_has_no_end),
    "I8": (
        bytes_were_changed,
        a_cause_does_not_exist,
        something_comes_after_the_end,
        a_header_says_something_else,
    ),
    "answers": (
        a_phase_has_two_snapshots,
        an_attempt_has_two_answers,
        an_answer_answers_nothing,
        a_claim_replaces_nothing,
    ),
    "agents": (
        an_agent_was_started_again,
        an_agent_was_started_after_the_answer,
        an_agent_was_started_for_nobody,
    ),
}
"""By the invariant that each breaks."""
