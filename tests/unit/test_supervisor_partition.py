"""Serving a partition: steps, positions, and what a failing part costs."""

import asyncio
import gc
from time import process_time

import pytest

from events.catalogue import Topic
from events.configuration import Configuration
from events.decide.verdicts import Reason
from events.families.run import RunCancelRequested, RunPrepared
from events.history import PartitionState
from events.log.partitions import home_partition
from events.log.port import LogUnavailable, NewRecord, Place, Positions
from services.supervisor import partition as module
from services.supervisor.snapshots import Snapshots
from support.memory_log import MemoryLog, MemoryWriter
from support.owning import (
    COMMANDS,
    REJECTIONS,
    folded,
    reasons,
    record,
    request_id,
    serving,
    types,
    types_of_runs,
    until,
)
from support.scenario import BASE, plan

pytestmark = pytest.mark.usefixtures("machine_time")


async def test_a_step_of_rejections_alone_is_where_the_next_owner_goes_on(log: MemoryLog) -> None:
    await log.submit(Topic.COMMANDS, [NewRecord("shop", b"junk")])
    async with serving(log):
        await until(lambda: len(log.records[REJECTIONS]) == 1)
    assert log.positions[0] == Positions(commands=1, results=0)
    await log.submit(Topic.COMMANDS, [record(plan())])
    async with serving(log):
        await until(lambda: "PrepareRequested" in types(log))
    assert reasons(log) == [Reason.UNREADABLE]


@pytest.mark.parametrize("kind", ["forwards", "rejections"])
async def test_what_only_forwards_and_rejections_have_passed_is_not_deleted(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Forwards keep no positions, and rejections expire: the next owner would begin before the start."""
    monkeypatch.setattr(module, "DELETE_EVERY_SECONDS", 0.0)
    log = MemoryLog(2)
    elsewhere = next(name for name in map(str, range(99)) if home_partition(name, 2) == 1)
    at_home = next(name for name in map(str, range(99)) if home_partition(name, 2) == 0)
    passed = {
        "forwards": (record(plan(project=None), project=elsewhere), Place(Topic.COMMANDS, 1)),
        "rejections": (NewRecord(at_home, b"junk"), REJECTIONS),
    }
    submitted, outcome = passed[kind]
    deleted = _deletions(monkeypatch)
    async with serving(log) as (_, task):
        log.write(COMMANDS, submitted)
        await until(lambda: len(log.records[outcome]) == 1)
        for run_id in ("run-1", "run-2"):
            log.write(COMMANDS, record(plan(project=None, run_id=run_id), run_id, project=at_home))
            await until(lambda run_id=run_id: task.done() or run_id in types_of_runs(log))
        await until(lambda: task.done() or log.first[COMMANDS] == 3)
        assert not task.done()
    assert Positions(1, 0) not in deleted
    async with serving(log) as (owner, _):
        log.write(COMMANDS, submitted)
        await until(lambda: owner._positions == Positions(4, 0))
    assert log.first[COMMANDS] == 3


def _deletions(monkeypatch: pytest.MonkeyPatch) -> list[Positions]:
    """From now on, before which positions records are deleted."""
    noted: list[Positions] = []
    delete_before = MemoryWriter.delete_before

    async def noting(writer: MemoryWriter, positions: Positions) -> None:
        noted.append(positions)
        await delete_before(writer, positions)

    monkeypatch.setattr(MemoryWriter, "delete_before", noting)
    return noted


async def test_a_state_is_only_that_of_what_was_written(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The append failed, or nobody knows: the owner ends, and the next one folds what the history holds."""
    append = MemoryWriter.append

    async def lost(writer: MemoryWriter, step: object) -> int:
        raise LogUnavailable("no answer")

    async def unanswered(writer: MemoryWriter, step: object) -> int:
        await append(writer, step)
        raise LogUnavailable("no answer")

    for failing in (lost, unanswered):
        monkeypatch.setattr(MemoryWriter, "append", failing)
        async with serving(log) as (_, task):
            log.write(COMMANDS, record(plan(run_id=failing.__name__), failing.__name__))
            await asyncio.wait({task}, timeout=10)
            assert isinstance(task.exception(), LogUnavailable)
        monkeypatch.setattr(MemoryWriter, "append", append)
        async with serving(log) as (owner, _):
            await until(lambda name=failing.__name__: name in types_of_runs(log))
            await until(lambda state=owner: state._state == folded(log))
    assert types(log).count("RunRequested") == 2
    assert log.records[REJECTIONS] == []


async def test_a_step_stays_small_whatever_its_records_lead_to(log: MemoryLog) -> None:
    """Cancellations of many large runs, judged at once, would make a batch that no broker takes."""
    runs = [f"run-{number}" for number in range(12)]
    phases = [{"phase_id": f"P{number}"} for number in range(200)]
    await log.submit(Topic.COMMANDS, [record(plan(phases, run_id=run_id), run_id) for run_id in runs])
    async with serving(log):
        await until(lambda: types(log).count("PrepareRequested") == 12, seconds=30)
    prepared = [
        RunPrepared(request_id=request_id(log, r), base_commit=BASE, configuration=Configuration()) for r in runs
    ]
    await log.submit(Topic.RESULTS, [record(data, run_id) for data, run_id in zip(prepared, runs, strict=True)])
    async with serving(log):
        await until(lambda: types(log).count("RunAccepted") == 12, seconds=30)
    accepted = len(log.steps)
    await log.submit(Topic.COMMANDS, [record(RunCancelRequested(reason="x" * 4_000), run_id) for run_id in runs])
    async with serving(log):
        await until(lambda: types(log).count("RunFailed") == 12, seconds=60)
    written = [sum(len(event.value) for event in step.events) for step in log.steps[accepted:]]
    assert sum(written) > 3 * module.BYTES_A_STEP
    assert max(written) < 2 * module.BYTES_A_STEP


async def test_nobody_is_kept_waiting_for_a_long_step(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats run beside it: what takes long is cut into more steps."""
    judge = module.Judge.judge

    def slow(self: module.Judge, state: PartitionState, stored: object) -> object:
        until_then = process_time() + 0.02
        while process_time() < until_then:
            pass
        return judge(self, state, stored)

    monkeypatch.setattr(module.Judge, "judge", slow)
    await log.submit(Topic.COMMANDS, [NewRecord("shop", b"junk")] * 40)
    gc.collect()
    gc.disable()
    try:
        longest, at = 0.0, process_time()
        async with serving(log), asyncio.timeout(60):
            while len(log.records[REJECTIONS]) < 40:
                await asyncio.sleep(0)
                longest, at = max(longest, process_time() - at), process_time()
    finally:
        gc.enable()
    assert longest < 0.4


async def test_what_cannot_be_deleted_now_stops_nothing(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = asyncio.Event()

    async def refusing(writer: MemoryWriter, positions: Positions) -> None:
        refused.set()
        raise LogUnavailable("not allowed to delete")

    monkeypatch.setattr(module, "DELETE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(MemoryWriter, "delete_before", refusing)
    async with serving(log) as (_, task):
        await log.submit(Topic.COMMANDS, [record(plan(run_id="run-1"), "run-1")])
        await asyncio.wait_for(refused.wait(), 10)
        await log.submit(Topic.COMMANDS, [record(plan(run_id="run-2"), "run-2")])
        await until(lambda: "run-2" in types_of_runs(log))
        assert not task.done()


async def test_what_hangs_beside_the_steps_holds_none_of_them_up(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is silent, a store far away: the history is written on, and each is asked once."""
    hanging: list[str] = []

    async def hung_delete(*_: object) -> None:
        hanging.append("delete")
        await asyncio.Event().wait()

    async def hung_keep(*_: object) -> None:
        hanging.append("snapshot")
        await asyncio.Event().wait()

    monkeypatch.setattr(module, "DELETE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(module, "SNAPSHOT_EVERY_RECORDS", 1)
    monkeypatch.setattr(MemoryWriter, "delete_before", hung_delete)
    monkeypatch.setattr(Snapshots, "keep", hung_keep)
    async with serving(log) as (_, task):
        for run_id in ("run-1", "run-2", "run-3"):
            await log.submit(Topic.COMMANDS, [record(plan(run_id=run_id), run_id)])
            await until(lambda run_id=run_id: run_id in types_of_runs(log))
        await until(lambda: len(hanging) == 2)
        assert not task.done()
    assert sorted(hanging) == ["delete", "snapshot"]
    assert [one for one in asyncio.all_tasks() if one.get_name() in ("delete-0", "snapshot-0")] == []


async def test_a_fault_of_ours_beside_the_steps_ends_the_owner(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "DELETE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(MemoryWriter, "delete_before", failing)
    async with serving(log) as (_, task):
        await log.submit(Topic.COMMANDS, [record(plan(run_id="run-1"), "run-1")])
        await asyncio.wait({task}, timeout=10)
        assert isinstance(task.exception(), ZeroDivisionError)
