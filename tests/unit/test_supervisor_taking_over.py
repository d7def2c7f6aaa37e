"""Taking a partition over: with and without a snapshot, and only on a history that is whole."""

import pytest

from events.catalogue import Topic
from events.families.failure import FailureClass
from events.families.run import PrepareFailed
from events.history import PartitionState
from events.log.port import LogUnavailable, Place
from services.supervisor import partition as module
from support.memory_log import MemoryLog
from support.owning import HISTORY, Store, folded, record, request_id, serving, told, types, until
from support.scenario import plan

pytestmark = pytest.mark.usefixtures("machine_time")


async def test_a_failing_store_of_snapshots_stops_nothing(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_EVERY_RECORDS", 1)
    store = Store()
    store.fails = True
    async with serving(log, store) as (_, task):
        for number in range(3):
            await log.submit(Topic.COMMANDS, [record(plan(run_id=f"run-{number}"), f"run-{number}")])
            await until(lambda n=number: types(log).count("RunRequested") == n + 1)
        assert not task.done()
    assert store.values == {}


async def test_taking_over_gives_the_same_state_with_a_snapshot_and_without(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_EVERY_RECORDS", 4)
    store = Store()
    await told(log, store, range(5))
    assert store.values
    await told(log, None, range(5, 7))
    reads = _reads(log)
    async with serving(log, store) as (owner, _):
        with_snapshot, from_there = owner._state, min(start for start, _ in reads)
    async with serving(log) as (owner, _):
        without = owner._state
    assert with_snapshot == without == folded(log)
    assert from_there > 0


def _reads(log: MemoryLog) -> list[tuple[int, int | None]]:
    """From now on, which ranges of the history are read."""
    seen: list[tuple[int, int | None]] = []
    read = log.read

    async def noting(place: Place, start: int, end: int | None = None) -> object:
        if place == HISTORY:
            seen.append((start, end))
        return await read(place, start, end)

    log.read = noting
    return seen


async def test_a_snapshot_of_another_log_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log was made anew at the same address: offsets fit, the anchor does not."""
    monkeypatch.setattr(module, "SNAPSHOT_EVERY_RECORDS", 2)
    store = Store()
    await told(MemoryLog(), store, range(3))
    assert store.values
    other = MemoryLog()
    await other.submit(Topic.COMMANDS, [record(plan(run_id=f"other-{n}"), f"other-{n}") for n in range(6)])
    async with serving(other) as (owner, _):
        await until(lambda: types(other).count("RunRequested") == 6)
    async with serving(other, store) as (owner, _):
        assert set(owner._state.project("shop").runs) == {f"other-{n}" for n in range(6)}


async def test_a_snapshot_ahead_of_the_log_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_EVERY_RECORDS", 2)
    store = Store()
    await told(MemoryLog(), store, range(3))
    async with serving(MemoryLog(), store) as (owner, _):
        assert owner._state == PartitionState()


async def test_nothing_is_decided_on_a_history_that_could_not_be_read_to_its_end(log: MemoryLog) -> None:
    await told(log, None, range(2))
    whole = log.read

    async def short(place: Place, start: int, end: int | None = None) -> object:
        found = await whole(place, start, end)
        return [stored for stored in found if place != HISTORY or stored.offset < 3]

    log.read = short
    await log.submit(Topic.COMMANDS, [record(plan(run_id="run-1"), "run-1", "again")])
    async with serving(log) as (_, task):
        assert task.done()
        assert isinstance(task.exception(), LogUnavailable)
    assert types(log).count("RunRequested") == 2


async def test_the_history_goes_on_behind_the_state_that_was_folded(log: MemoryLog) -> None:
    await told(log, None, range(1))
    failed = PrepareFailed(
        request_id=request_id(log, "run-0"), failure=FailureClass.REPOSITORY_MISSING, reason="no"
    )
    await log.submit(Topic.RESULTS, [record(failed, "run-0")])
    async with serving(log) as (owner, _):
        await until(lambda: "RunFailed" in types(log))
        assert owner._state == folded(log)
        assert not owner._state.quarantined
