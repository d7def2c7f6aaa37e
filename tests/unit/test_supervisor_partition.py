"""Serving a partition: steps, positions, taking over, time; and what a failing part costs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from time import monotonic

import pytest

from events.catalogue import AnyEventData, Topic
from events.configuration import Configuration
from events.decide.verdicts import Reason
from events.envelope import write_submission
from events.event import Event
from events.families.failure import FailureClass
from events.families.run import PrepareFailed, RunCancelRequested, RunPrepared
from events.families.time import DeadlineKind
from events.history import PartitionState, chain, fold
from events.log.partitions import home_partition
from events.log.port import LogUnavailable, NewRecord, Place, Positions
from services.status import ServiceStatus
from services.supervisor import partition as module
from services.supervisor import timer as timer_module
from services.supervisor.alarms import PartitionAlarms
from services.supervisor.judging import Limits, history_record
from services.supervisor.partition import PartitionOwner
from services.supervisor.snapshots import Snapshots
from support.memory_log import MemoryLog, MemoryWriter
from support.scenario import BASE, START, Scenario, plan

HISTORY, COMMANDS, RESULTS, REJECTIONS = (
    Place(topic, 0) for topic in (Topic.EVENTS, Topic.COMMANDS, Topic.RESULTS, Topic.REJECTIONS)
)


Served = tuple[PartitionOwner, asyncio.Task[None]]


class Store:
    """Keeps snapshots in memory."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.fails = False

    async def read(self, name: str) -> bytes | None:
        return self.values.get(name)

    async def replace(self, name: str, data: bytes) -> None:
        if self.fails:
            raise OSError(28, "No space left on device")
        self.values[name] = data

    async def list(self, prefix: str) -> list[str]:
        return [name for name in self.values if name.startswith(prefix)]

    async def delete(self, name: str) -> None:
        self.values.pop(name, None)


@pytest.fixture(autouse=True)
def machine_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's clock agrees with the log's, unless a test says otherwise."""
    monkeypatch.setattr(timer_module, "time", START.timestamp)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@asynccontextmanager
async def serving(
    log: MemoryLog, store: Store | None = None
) -> AsyncIterator[tuple[PartitionOwner, asyncio.Task[None]]]:
    """An owner that has folded its history, and the task that it serves in."""
    snapshots = Snapshots(store or Store(), "log")
    status = ServiceStatus("supervisor")
    owner = PartitionOwner(log, 0, "supervisor-1", snapshots, Limits(), PartitionAlarms(status, 0))
    served = asyncio.Event()
    task = asyncio.create_task(owner.serve(served.set))
    waiting = asyncio.create_task(served.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        yield owner, task
    finally:
        waiting.cancel()
        task.cancel()
        await asyncio.wait({task, waiting})


def record(data: AnyEventData, run_id: str = "run-1", event_id: str = "", project: str = "shop") -> NewRecord:
    event = Event(event_id or f"{type(data).__name__}-{run_id}", "/test", run_id, START, data)
    return NewRecord(project, write_submission(event, project))


async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.002)


def types(log: MemoryLog) -> list[str]:
    return [(stored.type_name or "").split(".")[1] for stored in log.records[HISTORY]]


def types_of_runs(log: MemoryLog) -> set[str]:
    return {stored.headers["run"].decode() for stored in log.records[HISTORY]}


def folded(log: MemoryLog) -> PartitionState:
    state = PartitionState()
    for stored in log.records[HISTORY]:
        state = fold(state, stored.value, stored.type_name)
    return state


def reasons(log: MemoryLog) -> list[str]:
    return [stored.headers["reason"].decode() for stored in log.records[REJECTIONS]]


def request_id(log: MemoryLog, run_id: str = "run-1") -> str:
    return folded(log).project("shop").runs[run_id].requests[0].id


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
            await until(lambda run_id=run_id: task.done() or run_id in types_of_runs(log))  # type: ignore[misc]
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
        await append(writer, step)  # type: ignore[arg-type]  # passed on as it came
        raise LogUnavailable("no answer")

    for failing in (lost, unanswered):
        monkeypatch.setattr(MemoryWriter, "append", failing)
        async with serving(log) as (_, task):
            log.write(COMMANDS, record(plan(run_id=failing.__name__), failing.__name__))
            await asyncio.wait({task}, timeout=10)
            assert isinstance(task.exception(), LogUnavailable)
        monkeypatch.setattr(MemoryWriter, "append", append)
        async with serving(log) as (owner, _):
            await until(lambda name=failing.__name__: name in types_of_runs(log))  # type: ignore[misc]
            await until(lambda state=owner: state._state == folded(log))  # type: ignore[misc]
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
        until_then = monotonic() + 0.02
        while monotonic() < until_then:
            pass
        return judge(self, state, stored)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(module.Judge, "judge", slow)
    await log.submit(Topic.COMMANDS, [NewRecord("shop", b"junk")] * 40)
    longest, at = 0.0, monotonic()
    async with serving(log):
        while len(log.records[REJECTIONS]) < 40:
            await asyncio.sleep(0)
            longest, at = max(longest, monotonic() - at), monotonic()
    assert longest < 0.4


async def test_a_failing_store_of_snapshots_stops_nothing(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_EVERY_RECORDS", 1)
    store = Store()
    store.fails = True
    async with serving(log, store) as (_, task):
        for number in range(3):
            await log.submit(Topic.COMMANDS, [record(plan(run_id=f"run-{number}"), f"run-{number}")])
            await until(lambda n=number: types(log).count("RunRequested") == n + 1)  # type: ignore[misc]
        assert not task.done()
    assert store.values == {}


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


async def _told(log: MemoryLog, store: Store | None, runs: range) -> PartitionState:
    async with serving(log, store) as (owner, _):
        for number in runs:
            await log.submit(Topic.COMMANDS, [record(plan(run_id=f"run-{number}"), f"run-{number}")])
        await until(lambda: types(log).count("RunRequested") == runs.stop)
        return owner._state


async def test_taking_over_gives_the_same_state_with_a_snapshot_and_without(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_EVERY_RECORDS", 4)
    store = Store()
    await _told(log, store, range(5))
    assert store.values
    await _told(log, None, range(5, 7))
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

    log.read = noting  # type: ignore[method-assign, assignment]  # the same, noted
    return seen


async def test_a_snapshot_of_another_log_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log was made anew at the same address: offsets fit, the anchor does not."""
    monkeypatch.setattr(module, "SNAPSHOT_EVERY_RECORDS", 2)
    store = Store()
    await _told(MemoryLog(), store, range(3))
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
    await _told(MemoryLog(), store, range(3))
    async with serving(MemoryLog(), store) as (owner, _):
        assert owner._state == PartitionState()


async def test_nothing_is_decided_on_a_history_that_could_not_be_read_to_its_end(log: MemoryLog) -> None:
    await _told(log, None, range(2))
    whole = log.read

    async def short(place: Place, start: int, end: int | None = None) -> object:
        found = await whole(place, start, end)
        return [stored for stored in found if place != HISTORY or stored.offset < 3]

    log.read = short  # type: ignore[method-assign, assignment]  # a server that has lost the rest
    await log.submit(Topic.COMMANDS, [record(plan(run_id="run-1"), "run-1", "again")])
    async with serving(log) as (_, task):
        assert task.done()
        assert isinstance(task.exception(), LogUnavailable)
    assert types(log).count("RunRequested") == 2


async def test_a_deadline_is_submitted_when_it_is_due_and_ends_the_run(log: MemoryLog) -> None:
    async with serving(log):
        await log.submit(Topic.COMMANDS, [record(plan(max_duration_minutes=1))])
        await until(lambda: "PrepareRequested" in types(log))
        log.now = START + timedelta(seconds=59)
        await log.submit(Topic.RESULTS, [NewRecord("shop", b"junk")])
        await until(lambda: len(log.records[REJECTIONS]) == 1)
        assert "DeadlinePassed" not in types(log)
        log.now = START + timedelta(seconds=61)
        await log.submit(Topic.RESULTS, [NewRecord("shop", b"junk")])
        await until(lambda: "RunFailed" in types(log))
    assert types(log).count("DeadlinePassed") == 1


async def test_records_that_waited_for_an_hour_do_not_make_deadlines_an_hour_late(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.submit(Topic.COMMANDS, [record(plan(max_duration_minutes=1))])
    log.now = START + timedelta(hours=1)
    monkeypatch.setattr(timer_module, "time", log.now.timestamp)
    async with serving(log):
        await until(lambda: "RunFailed" in types(log))


async def test_a_machine_a_day_ahead_of_the_log_learns_the_time_and_ends_runs_when_they_are_due(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timer_module, "time", (START + timedelta(days=1)).timestamp)
    async with serving(log):
        await log.submit(Topic.COMMANDS, [record(plan(max_duration_minutes=1))])
        await until(lambda: reasons(log) == [Reason.EARLY_DEADLINE])
        assert "DeadlinePassed" not in types(log)
        log.now = START + timedelta(seconds=61)
        await log.submit(Topic.RESULTS, [NewRecord("shop", b"junk")])
        await until(lambda: "RunFailed" in types(log))


async def test_the_time_of_the_history_is_known_when_the_machine_is_a_day_behind(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(log):
        await log.submit(Topic.COMMANDS, [record(plan(max_duration_minutes=1))])
        await until(lambda: "PrepareRequested" in types(log))
        log.now = START + timedelta(hours=2)
        await log.submit(Topic.COMMANDS, [record(plan(run_id="run-2"), "run-2")])
        await until(lambda: types(log).count("RunRequested") == 2)
        first = log.records[COMMANDS][:2]
    log.records[COMMANDS][:] = first
    monkeypatch.setattr(timer_module, "time", (START - timedelta(days=1)).timestamp)
    async with serving(log):
        await until(lambda: "RunFailed" in types(log))


async def test_a_forked_run_is_an_alarm_until_somebody_has_looked_and_others_go_on(log: MemoryLog) -> None:
    await _told(log, None, range(2))
    forked = log.records[HISTORY][1]
    spoilt = NewRecord("shop", forked.value.replace(b'"sequence":1,', b'"sequence":7,'), forked.headers)
    log.write(HISTORY, spoilt)
    async with serving(log) as (owner, _):
        await log.submit(Topic.COMMANDS, [record(plan(run_id="run-2"), "run-2")])
        await until(lambda: types(log).count("RunRequested") == 3)
        (told,) = alarms(owner).values()
    assert "run-0" in told
    assert "does not extend the chain" in told


async def test_the_history_goes_on_behind_the_state_that_was_folded(log: MemoryLog) -> None:
    await _told(log, None, range(1))
    failed = PrepareFailed(
        request_id=request_id(log, "run-0"), failure=FailureClass.REPOSITORY_MISSING, reason="no"
    )
    await log.submit(Topic.RESULTS, [record(failed, "run-0")])
    async with serving(log) as (owner, _):
        await until(lambda: "RunFailed" in types(log))
        assert owner._state == folded(log)
        assert not owner._state.quarantined


def alarms(owner: PartitionOwner) -> dict[str, str]:
    return owner._alarms._status.alarms


def adrift() -> Scenario:
    """A run that has ended without knowing where its integration branch stands."""
    run = Scenario().started([{"phase_id": "P1"}])
    run.claimed("P1")
    run.built("P1")
    run.applied(1, "P1")
    run.green("P1")
    run.cancelled()
    run.passed(DeadlineKind.ENDING)
    run.passed(DeadlineKind.INTEGRATION)
    return run


def write_down(log: MemoryLog, run: Scenario) -> None:
    for one in chain(PartitionState().heads, "shop", run.history)[0]:
        log.write(HISTORY, history_record(one))


async def test_a_branch_that_is_not_known_is_an_alarm_that_outlives_restarts_until_the_run_is_retried(
    log: MemoryLog,
) -> None:
    write_down(log, adrift())
    for _ in range(2):
        async with serving(log) as (owner, _):
            (told,) = alarms(owner).values()
            assert "run 'run-1' of 'shop' has ended, and where its integration branch stands is not known" in told
    async with serving(log) as (owner, _):
        await log.submit(Topic.COMMANDS, [record(plan(run_id="run-2", retry_of="run-1"), "run-2")])
        await until(lambda: alarms(owner) == {})
    async with serving(log) as (owner, _):
        assert alarms(owner) == {}


async def test_the_alarm_comes_with_the_step_that_ends_the_run(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = adrift()
    last = [type(event.data).__name__ for event in run.history].index("DeadlinePassed")
    write_down(log, replace(run, history=run.history[:last]))
    log.now = run.now
    monkeypatch.setattr(timer_module, "time", log.now.timestamp)
    async with serving(log) as (owner, _):
        await until(lambda: "RunFailed" in types(log))
        await until(lambda: len(alarms(owner)) == 1)


async def test_records_that_were_deleted_before_they_were_read_are_an_alarm_and_others_are_decided(
    log: MemoryLog,
) -> None:
    await log.submit(Topic.COMMANDS, [record(plan(run_id=f"run-{n}"), f"run-{n}") for n in range(3)])
    log.first[COMMANDS] = 2
    async with serving(log) as (owner, _):
        await until(lambda: "RunRequested" in types(log))
        assert types_of_runs(log) == {"run-2"}
        (told,) = alarms(owner).values()
    assert told == (
        "autopack.commands, partition 0: offset 0 was to be read, and the first that is left is 2: "
        "records were deleted before they were read"
    )


async def test_all_that_follow_a_run_begin_after_its_end_without_further_traffic(log: MemoryLog):
    followers = {f"run-{number}" for number in range(2, 7)}
    async with serving(log):
        await log.submit(Topic.COMMANDS, [record(plan(run_id="run-1"))])
        waiting = [record(plan(run_id=run_id, follows="run-1"), run_id) for run_id in sorted(followers)]
        await log.submit(Topic.COMMANDS, [*waiting, record(RunCancelRequested())])
        await until(lambda: types(log).count("PrepareRequested") == 6)
    assert folded(log).project("shop").queue == ()
    assert types(log).count("DeadlinePassed") == 4
