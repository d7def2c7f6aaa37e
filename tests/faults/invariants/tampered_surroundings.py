"""Evidence of a whole build with one thing changed besides the log: tables, files, repositories, what is left."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from faults.invariants.agents import STARTING
from faults.invariants.evidence import Commit, Evidence, ReadModels, Record, Repository, Start

Tampering = Callable[[Evidence], Evidence]


def an_apply_request_has_two_commits(evidence: Evidence) -> Evidence:
    request = next(r for r in evidence.log.history if r.name == "ApplyRequested")
    return _with_commit(evidence, Commit("c" * 40, "d" * 40, ("e" * 40,), {"Event": request.id}))


def a_commit_was_made_that_nobody_asked_for(evidence: Evidence) -> Evidence:
    return _with_commit(evidence, Commit("c" * 40, "d" * 40, ("e" * 40,), {"Event": "nobodys-request"}))


def _with_commit(evidence: Evidence, commit: Commit) -> Evidence:
    first, *others = evidence.mirrors
    return replace(evidence, mirrors=[replace(first, commits={**first.commits, commit.id: commit}), *others])


def a_row_is_missing(evidence: Evidence) -> Evidence:
    return _with_rows(evidence, "phases_v1", lambda rows: rows - Counter([min(rows)]))


def a_row_is_another(evidence: Evidence) -> Evidence:
    return _with_rows(
        evidence, "runs_v2", lambda r: r - Counter([min(r)]) + Counter([min(r)[:-1] + ', "more": 1}'])
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


def the_tables_are_empty(evidence: Evidence) -> Evidence:
    empty = {table: Counter[str]() for table in evidence.read_models.rebuilt}
    return replace(evidence, read_models=replace(evidence.read_models, served=empty, checkpoints=[]))


def there_are_no_read_models(evidence: Evidence) -> Evidence:
    return replace(evidence, read_models=ReadModels({}, {}))


def the_read_models_cannot_be_made_again(evidence: Evidence) -> Evidence:
    return replace(evidence, read_models=replace(evidence.read_models, failure="exit code 1"))


def a_run_file_is_missing(evidence: Evidence) -> Evidence:
    models = evidence.read_models
    files = {path: digest for path, digest in models.served_files.items() if path != min(models.served_files)}
    return replace(evidence, read_models=replace(models, served_files=files))


def a_run_file_is_left_over(evidence: Evidence) -> Evidence:
    models = evidence.read_models
    files = {**models.served_files, "run-of-nobody/run_summary.md": "a digest"}
    return replace(evidence, read_models=replace(models, served_files=files))


def _with_refs(evidence: Evidence, change: Callable[[dict[str, str]], dict[str, str]]) -> Evidence:
    """With the refs of the repository of the first snapshot."""
    branch = _branch(evidence)
    found = [
        replace(one, refs=change(dict(one.refs))) if branch in one.refs else one for one in evidence.repositories
    ]
    return replace(evidence, repositories=found)


def _branch(evidence: Evidence) -> str:
    asked = next(record for record in evidence.log.history if record.name == "IntegrationRequested")
    return f"refs/heads/{asked.data['branch']}"


def _base(evidence: Evidence) -> str:
    return next(r for r in evidence.log.history if r.name == "RunAccepted").data["base_commit"]


def a_protected_ref_was_removed(evidence: Evidence) -> Evidence:
    return _with_refs(evidence, lambda refs: {n: v for n, v in refs.items() if n != "refs/heads/main"})


def head_names_another_branch(evidence: Evidence) -> Evidence:
    branch = _branch(evidence)
    return _with_refs(evidence, lambda refs: {**refs, "HEAD": branch})


def nothing_tells_of_the_moves_of_a_branch(evidence: Evidence) -> Evidence:
    return replace(evidence, repositories=[replace(one, moves={}) for one in evidence.repositories])


def another_branch_was_made(evidence: Evidence) -> Evidence:
    return _with_refs(evidence, lambda refs: {**refs, "refs/heads/stray": refs["refs/heads/main"]})


def a_tag_is_missing(evidence: Evidence) -> Evidence:
    return _with_refs(evidence, lambda refs: {n: v for n, v in refs.items() if not n.startswith("refs/tags/")})


def a_branch_was_set_back(evidence: Evidence) -> Evidence:
    branch, base = _branch(evidence), _base(evidence)
    return _with_refs(evidence, lambda refs: {**refs, branch: base})


def a_branch_holds_a_commit_of_somebody_else(evidence: Evidence) -> Evidence:
    branch = _branch(evidence)

    def with_commit(one: Repository) -> Repository:
        if branch not in one.refs:
            return one
        commit = Commit("c" * 40, "d" * 40, (one.refs[branch],), {})
        return replace(one, refs={**one.refs, branch: commit.id}, commits={**one.commits, commit.id: commit})

    return replace(evidence, repositories=[with_commit(one) for one in evidence.repositories])


def a_branch_went_back_and_forth(evidence: Evidence) -> Evidence:
    branch, base = _branch(evidence), _base(evidence)

    def with_moves(one: Repository) -> Repository:
        head = one.refs.get(branch, base)
        return replace(one, moves={branch: [("0" * 40, base), (base, head), (head, base), (base, head)]})

    return replace(evidence, repositories=[with_moves(one) for one in evidence.repositories])


def git_finds_a_fault(evidence: Evidence) -> Evidence:
    first, *others = evidence.repositories
    return replace(evidence, repositories=[replace(first, complaints=["missing blob"]), *others])


def a_work_tree_was_touched(evidence: Evidence) -> Evidence:
    first, *others = evidence.repositories
    return replace(evidence, repositories=[replace(first, changes=[" M README.md"]), *others])


def a_process_is_left(evidence: Evidence) -> Evidence:
    return replace(evidence, leftovers=replace(evidence.leftovers, processes=["process 4711 (sleep 600)"]))


def a_clone_is_left(evidence: Evidence) -> Evidence:
    return replace(evidence, leftovers=replace(evidence.leftovers, files=["work/claim"]))


def a_lock_is_held(evidence: Evidence) -> Evidence:
    return replace(evidence, leftovers=replace(evidence.leftovers, locks=["writers.flock"]))


def a_transaction_is_open(evidence: Evidence) -> Evidence:
    return replace(evidence, log=replace(evidence.log, unsettled=["autopack.events/0 from offset 1 up to 2"]))


def an_agent_was_started_again(evidence: Evidence) -> Evidence:
    return replace(evidence, starts=[*evidence.starts, evidence.starts[0]])


def an_agent_was_started_after_the_answer(evidence: Evidence) -> Evidence:
    first, *others = evidence.starts
    return replace(evidence, starts=[replace(first, at=first.at + timedelta(hours=1)), *others])


def an_agent_was_started_again_though_nobody_was_disturbed(evidence: Evidence) -> Evidence:
    """Under another claim, so that there are as many claims as starts."""
    first = evidence.starts[0]
    claim = _claim_of(evidence, first)
    again = replace(claim, event={**claim.event, "id": "another-claim"})
    log = replace(evidence.log, records=[*evidence.log.records, again])
    return replace(evidence, log=log, starts=[*evidence.starts, first])


def _claim_of(evidence: Evidence, start: Start) -> Record:
    built = (start.run_id, start.phase_id, start.attempt)
    asked = {
        r.id
        for r in evidence.log.history
        if r.name == "BuildRequested" and (r.run[1], r.data["phase_id"], r.data["attempt"]) == built
    }
    return next(r for r in evidence.log.history if r.name == "WorkStarted" and r.request_id in asked)


def _with_claim(evidence: Evidence, folder: str, replaced_by: bool = False) -> Evidence:
    """With the first start in the folder of a claim, named by the claim's id where it is there."""
    first, *others = evidence.starts
    claim = _claim_of(evidence, first)
    start = replace(first, folder=folder.format(claim.id))
    records = list(evidence.log.records)
    if replaced_by:
        data = {**claim.data, "replaces": claim.id}
        at = start.at - 2 * STARTING
        records.append(replace(claim, event={**claim.event, "id": "heir", "data": data}, recorded_at=at))
    disturbed = frozenset({"builder"})
    log = replace(evidence.log, records=records)
    return replace(evidence, log=log, starts=[start, *others], disturbed=disturbed)


def an_agent_was_started_under_a_claim_that_nobody_made(evidence: Evidence) -> Evidence:
    return _with_claim(evidence, "/anywhere/work/nobodys-claim/tree")


def an_agent_was_started_under_a_claim_that_was_replaced(evidence: Evidence) -> Evidence:
    return _with_claim(evidence, "/anywhere/work/{}/tree", replaced_by=True)


def a_builder_was_started_though_its_answer_was_kept_before_the_claim(evidence: Evidence) -> Evidence:
    started = _with_claim(evidence, "/anywhere/work/{}/tree")
    claim = _claim_of(evidence, evidence.starts[0])
    return replace(started, kept={str(claim.request_id): claim.recorded_at - timedelta(seconds=3)})


def an_agent_was_started_though_its_answer_was_kept_long_before(evidence: Evidence) -> Evidence:
    first, *others = evidence.starts
    claim = _claim_of(evidence, first)
    kept = {str(claim.request_id): first.at - timedelta(seconds=10)}
    return replace(evidence, starts=[replace(first, folder=""), *others], kept=kept)


def an_agent_was_started_for_nobody(evidence: Evidence) -> Evidence:
    return replace(evidence, starts=[*evidence.starts, replace(evidence.starts[0], phase_id="of-no-plan")])


TAMPERED_SURROUNDINGS: Mapping[str, Sequence[Tampering]] = {
    "I2": (
        an_apply_request_has_two_commits,
        a_commit_was_made_that_nobody_asked_for,
    ),
    "I4": (
        a_row_is_missing,
        a_row_is_another,
        an_event_is_in_no_timeline,
        a_run_file_is_another,
        a_run_file_is_missing,
        a_run_file_is_left_over,
        a_projection_has_stopped,
        a_projection_lags_behind,
        the_tables_are_empty,
        there_are_no_read_models,
        the_read_models_cannot_be_made_again,
    ),
    "I5": (
        a_protected_ref_was_removed,
        another_branch_was_made,
        head_names_another_branch,
        nothing_tells_of_the_moves_of_a_branch,
        a_tag_is_missing,
        a_branch_was_set_back,
        a_branch_holds_a_commit_of_somebody_else,
        a_branch_went_back_and_forth,
        git_finds_a_fault,
        a_work_tree_was_touched,
    ),
    "I6": (
        a_process_is_left,
        a_clone_is_left,
        a_lock_is_held,
        a_transaction_is_open,
    ),
    "agents": (
        an_agent_was_started_again,
        an_agent_was_started_after_the_answer,
        an_agent_was_started_for_nobody,
        an_agent_was_started_again_though_nobody_was_disturbed,
        an_agent_was_started_under_a_claim_that_nobody_made,
        an_agent_was_started_under_a_claim_that_was_replaced,
        a_builder_was_started_though_its_answer_was_kept_before_the_claim,
        an_agent_was_started_though_its_answer_was_kept_long_before,
    ),
}
"""By the invariant that each breaks."""
