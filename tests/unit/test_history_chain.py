"""The chain of a run's records, and the state that is folded from them."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from events import history
from events.codec import UnreadableRecord
from events.event import Event
from events.families.failure import FailureClass
from events.families.phase import PhaseFailed
from events.families.run import PrepareFailed
from events.history import NO_HEAD, Head, Link, PartitionState, chain, fold, link
from events.states import RunState
from support.scenario import START, Scenario, plan, used

TESTS = Path(__file__).parents[1]


def story() -> Scenario:
    run = Scenario().started([{"phase_id": "P1", "depends_on": []}, {"phase_id": "P2", "depends_on": []}])
    run.claimed("P1")
    run.built("P1", usage=used(7, cost_usd=0.1))
    run.applied(1, "P1")
    run.red("P1", checks=[{"name": "tests", "outcome": "failed", "output": "ä \x00"}])
    run.say(plan(run_id="run-2"), "run-2")
    return run


def records(run: Scenario) -> list[bytes]:
    return [r.value for r in chain(PartitionState().heads, "shop", run.history)[0]]


def folded(values: list[bytes]) -> PartitionState:
    state = PartitionState()
    for value in values:
        state = fold(state, value)
    return state


def test_records_of_a_run_are_numbered_from_zero_and_each_run_by_itself():
    read = [orjson.loads(value) for value in records(story())]
    for run_id in ("run-1", "run-2"):
        mine = [r["sequence"] for r in read if r["runid"] == run_id]
        assert mine == list(range(len(mine)))


def test_the_fold_of_the_stored_bytes_is_the_live_state():
    run = story()
    assert folded(records(run)).project("shop") == run.project


def test_folding_goes_on_from_any_point():
    run = story()
    values = records(run)
    state = folded(values[:5])
    for value in values[5:]:
        state = fold(state, value)
    assert state == folded(values)


def test_chaining_goes_on_where_the_stored_records_end():
    run = story()
    written = len(run.history)
    heads = folded(records(run)).heads
    run.cancelled()
    more, _ = chain(heads, "shop", run.history[written:])
    assert records(run)[written:] == [r.value for r in more]


def test_a_repeated_record_changes_nothing():
    values = records(story())
    state = folded(values)
    for value in values:
        assert fold(state, value) is state


@pytest.mark.parametrize("place", [0, 3, 8])
def test_a_record_that_was_edited_puts_its_run_into_quarantine_and_no_other(place: int):
    values = records(story())
    edited = values[place].replace(b'"specversion":"1.0",', b'"specversion":"1.0","extra":1,')
    state = folded([*values[:place], edited, *values[place + 1 :]])
    assert ("shop", "run-1") in state.quarantined
    assert ("shop", "run-2") not in state.quarantined
    assert state.project("shop").runs["run-2"]


def test_a_gap_puts_the_run_into_quarantine():
    values = records(story())
    state = folded([values[0], *values[2:]])
    assert "does not extend the chain" in state.quarantined["shop", "run-1"]


def test_a_quarantined_run_is_folded_no_further():
    values = records(story())
    state = folded([values[0], *values[2:]])
    assert len(state.heads) == 2
    assert state.heads["shop", "run-1"].sequence == 0


@pytest.mark.parametrize(
    ("sequence", "prevhash", "expected"),
    [
        (0, "0" * 64, Link.EXTENDS),
        (0, "1" * 64, Link.FORKS),
        (1, "0" * 64, Link.FORKS),
    ],
)
def test_the_first_record_extends_nothing_but_zeros(sequence: int, prevhash: str, expected: Link):
    assert link(NO_HEAD, sequence, prevhash, b"x") is expected


def test_the_last_record_again_with_other_bytes_is_a_fork():
    assert link(Head(3, "a" * 64), 3, "b" * 64, b"other bytes") is Link.FORKS


def other(value: bytes) -> bytes:
    """Another record that claims to be this one's equal in the chain."""
    return value.replace(b'"id":"', b'"id":"another-', 1)


@pytest.mark.parametrize("place", [0, 3, 6])
def test_another_record_in_the_place_of_an_earlier_one_is_a_fork_as_long_as_the_run_goes_on(place: int):
    values = [r for r in records(story()) if b'"runid":"run-1"' in r]
    state = fold(folded(values), other(values[place]))
    assert f"record {place} (another-" in state.quarantined["shop", "run-1"]


def test_of_a_run_that_has_ended_the_last_record_alone_is_kept():
    run = Scenario().started([{"phase_id": "P1"}])
    run.completed("P1")
    values = records(run)
    state = folded(values)
    assert state.heads["shop", "run-1"].marks == b""
    assert fold(state, other(values[2])) is state


def test_marks_take_eight_bytes_a_record():
    values = [r for r in records(story()) if b'"runid":"run-1"' in r]
    assert len(folded(values).heads["shop", "run-1"].marks) == 8 * len(values)


def unfit(values: list[bytes], place: int) -> list[bytes]:
    """A record that decodes and extends its run's chain, and that cannot have happened to the run as it stands."""
    heads = folded(values[:place]).heads
    stray = PrepareFailed(request_id="never-asked", failure=FailureClass.REPOSITORY_MISSING, reason="no")
    event = Event("stray", "/test", "run-1", START, stray)
    more, _ = chain(heads, "shop", [event])
    return [*values[:place], more[0].value, *values[place:]]


@pytest.mark.parametrize("place", [0, 4, 9])
def test_an_event_that_cannot_be_folded_quarantines_its_run_and_says_which_and_why(place: int):
    run = story()
    values = unfit(records(run), place)
    state = folded(values)
    assert list(state.quarantined) == [("shop", "run-1")]
    assert f"record {place} (stray) cannot be folded: KeyError: " in state.quarantined["shop", "run-1"]
    assert state.project("shop").runs["run-2"] == run.project.runs["run-2"]
    assert state.project("shop").runs.get("run-1") == folded(values[:place]).project("shop").runs.get("run-1")
    assert folded(values) == state


def test_a_fault_of_the_machine_is_none_of_the_records(monkeypatch: pytest.MonkeyPatch):
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(history, "evolve", exhausted)
    with pytest.raises(MemoryError):
        folded(records(story())[:1])


def test_what_an_error_says_of_this_process_alone_is_left_out(monkeypatch: pytest.MonkeyPatch):
    def lost(*_: object) -> None:
        raise ValueError(f"what is {object()!r} doing here?")

    monkeypatch.setattr(history, "evolve", lost)
    (reason,) = folded(records(story())[:1]).quarantined.values()
    assert reason.endswith("ValueError: what is <object object> doing here?")


def test_a_quarantined_run_holds_no_place_and_does_not_wait_for_one():
    run = Scenario(runs_at_once=1).started()
    for number in (2, 3):
        run.say(plan(run_id=f"run-{number}"), f"run-{number}")
    values = records(run)
    state = folded(unfit(values, len(values)))
    assert tuple(state.project("shop").line) == ("run-2", "run-3")
    assert (state.project("shop").lost, state.project("shop").started_runs) == (("run-1",), 0)
    edited = [value.replace(b'"specversion":"1.0",', b'"specversion":"1.0","extra":1,') for value in values[-2:-1]]
    waiting = folded([*values[:-2], *edited, edited[0].replace(b'"sequence":0', b'"sequence":7'), values[-1]])
    assert tuple(waiting.project("shop").line) == ("run-3",)


def test_an_unreadable_record_stops_the_fold():
    with pytest.raises(UnreadableRecord):
        fold(PartitionState(), b"{}")


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from hashlib import sha256
from support.scenario import Scenario
from events.history import PartitionState, chain
run = Scenario().started([dict(phase_id=f"P{{n}}", depends_on=[]) for n in range(9)])
for n in range(9):
    run.claimed(f"P{{n}}")
run.cancelled()
run.later(5)
from events.families.time import DeadlineKind
run.passed(DeadlineKind.ENDING)
values = [r.value for r in chain(PartitionState().heads, "shop", run.history)[0]]
print(sha256(b"".join(values)).hexdigest(), run.project.ended["run-1"].unsettled)
"""


def test_every_process_decides_the_same_bytes():
    """Maps keep no order of their own: it differs with each process's seed of hashes."""
    said = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT.format(tests=str(TESTS))],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


def test_a_fold_of_a_whole_run_ends_as_the_run_did():
    run = Scenario().started()
    for _ in range(3):
        run.not_built()
    state = folded(records(run))
    assert state.project("shop").ended["run-1"].state is RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
    assert run.last(PhaseFailed).attempts == 3
