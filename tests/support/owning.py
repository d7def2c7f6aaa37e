"""One partition served on a log in memory, and what was written to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from events.catalogue import AnyEventData, Topic
from events.envelope import write_submission
from events.event import Event
from events.history import PartitionState, fold
from events.log.port import NewRecord, Place
from services.status import ServiceStatus
from services.supervisor.alarms import PartitionAlarms
from services.supervisor.judging import Limits
from services.supervisor.partition import PartitionOwner
from services.supervisor.snapshots import Snapshots
from support.memory_log import MemoryLog
from support.scenario import START, plan

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


@asynccontextmanager
async def serving(log: MemoryLog, store: Store | None = None) -> AsyncIterator[Served]:
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


async def told(log: MemoryLog, store: Store | None, runs: range) -> PartitionState:
    """The state after these requests; where there is a store, a snapshot has been kept in it."""
    async with serving(log, store) as (owner, _):
        for number in runs:
            await log.submit(Topic.COMMANDS, [record(plan(run_id=f"run-{number}"), f"run-{number}")])
        await until(lambda: types(log).count("RunRequested") == runs.stop)
        await until(lambda: store is None or bool(store.values))
        return owner._state


def alarms(owner: PartitionOwner) -> dict[str, str]:
    return owner._alarms._status.alarms
