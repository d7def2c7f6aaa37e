"""A log in memory with a supervisor on it, and workers that do what a test tells them to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from events.catalogue import AnyEventData, Topic
from events.codec import HistoryEvent, UnreadableRecord, read_history, read_submission
from events.configuration import Configuration
from events.envelope import write_submission
from events.event import Event
from events.families.base import EventData, Usage
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.failure import FailureClass
from events.families.run import PrepareRequested, RunCancelRequested, RunPrepared
from events.families.work import WorkStarted
from events.log.port import NewRecord, Place
from services.runner import runner as runner_module
from services.runner.runner import Runner, RunnerSettings
from services.runner.worker import Assignment, Terms, WorkerTraits
from services.status import ServiceStatus
from services.supervisor.judging import Limits
from services.supervisor.snapshots import Snapshots
from services.supervisor.supervisor import Supervisor
from support.memory_log import MemoryLog
from support.scenario import BASE, PATCH, START, plan

SIDE_BY_SIDE = [{"phase_id": f"P{number}", "depends_on": []} for number in range(1, 7)]


class Store:
    """Values in memory; it can be made to fail."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.error: Exception | None = None

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    async def read(self, name: str) -> bytes | None:
        self._check()
        return self.values.get(name)

    async def replace(self, name: str, data: bytes) -> None:
        self._check()
        self.values[name] = data

    async def list(self, prefix: str) -> list[str]:
        self._check()
        return [name for name in self.values if name.startswith(prefix)]

    async def delete(self, name: str) -> None:
        self._check()
        self.values.pop(name, None)

    async def create(self, name: str, data: bytes) -> bool:
        self._check()
        return self.values.setdefault(name, data) is data


@dataclass
class Doer:
    """A builder that performs what it is told to; without being told it waits.

    `spends` is what an agent of its uses; one that `heeds` ends when its request is revoked, and tells.
    """

    awaits_claim: bool = True
    keeps_results: bool = True
    name: str = "builder"
    limit_seconds: float = 60.0
    begun: list[Assignment] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    error: Exception | None = None
    spends: Usage | None = None
    heeds: bool = True
    answers: dict[str, asyncio.Future[AnyEventData]] = field(default_factory=dict)

    @property
    def traits(self) -> WorkerTraits:
        builds: tuple[type[EventData], ...] = (BuildSucceeded, BuildFailed)
        return WorkerTraits(self.name, (BuildRequested,), builds, self.awaits_claim, self.keeps_results)

    async def terms(self, request: EventData) -> Terms:
        return Terms(self.limit_seconds, agent="doer")

    async def perform(self, assignment: Assignment) -> AnyEventData:
        self.begun.append(assignment)
        if self.spends is not None:
            assignment.spending.begun = True
        if self.error is not None:
            assignment.spending.usage = self.spends or Usage()
            raise self.error
        answer = self.answers.setdefault(assignment.request_id, asyncio.get_running_loop().create_future())
        try:
            return await (self._heeding(assignment, answer) if self.heeds else asyncio.shield(answer))
        except asyncio.CancelledError:
            self.killed.append(assignment.request_id)
            raise

    def failed(self, assignment: Assignment, failure: FailureClass, reason: str) -> AnyEventData | None:
        return BuildFailed(**_of(assignment), failure=failure, reason=reason, usage=assignment.spending.usage)

    async def _heeding(self, assignment: Assignment, answer: asyncio.Future[AnyEventData]) -> AnyEventData:
        told = asyncio.create_task(assignment.revoked.wait())
        try:
            await asyncio.wait({told, answer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
        if answer.done():
            return answer.result()
        assignment.spending.usage = self.spends or Usage()
        return BuildFailed(
            **_of(assignment), failure=FailureClass.REVOKED, reason="told to stop", usage=assignment.spending.usage
        )

    def finish(self, number: int = 0) -> None:
        """Let the work that was begun at this place succeed."""
        assignment = self.begun[number]
        self.answers[assignment.request_id].set_result(BuildSucceeded(**_of(assignment), patch=PATCH))


def _of(assignment: Assignment) -> dict[str, Any]:
    asked: Any = assignment.request
    return {"request_id": assignment.request_id, "phase_id": asked.phase_id, "attempt": asked.attempt}


def hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses for runners; the conditions that tests wait for are the same."""
    monkeypatch.setattr(runner_module, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(runner_module, "LIVING_SECONDS", 0.02)


async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.002)


class Stage:
    """One log, and what was written to it."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log

    def history(self, event_type: type[EventData] | None = None) -> list[HistoryEvent]:
        """The events of every run, in the order of their partitions; those of a type, where one is given.

        What cannot be read is left out.
        """
        found = []
        for number in range(self.log.partition_count):
            for record in self.log.records[Place(Topic.EVENTS, number)]:
                with suppress(UnreadableRecord):
                    found.append(read_history(record.value, record.type_name))
        return [one for one in found if event_type is None or isinstance(one.event.data, event_type)]

    def submitted(self, event_type: type[EventData], topic: Topic = Topic.RESULTS) -> list[Event]:
        """What was submitted, whatever became of it."""
        places = [Place(topic, number) for number in range(self.log.partition_count)]
        records = [record for place in places for record in self.log.records[place]]
        read = [read_submission(r.value, r.headers, r.recorded_at).event for r in records]
        return [event for event in read if isinstance(event.data, event_type)]

    def reasons(self) -> list[str]:
        """Why records were refused."""
        places = [Place(Topic.REJECTIONS, number) for number in range(self.log.partition_count)]
        return [r.headers["reason"].decode() for place in places for r in self.log.records[place]]

    def claimants(self) -> list[str]:
        """Who has claimed something, one entry a claim."""
        return [one.event.data.instance for one in self.history(WorkStarted)]

    async def turns(self, count: int = 20) -> None:
        """Let a runner look around so often."""
        for _ in range(count):
            self.log.wake()
            await asyncio.sleep(0.005)

    async def say(self, topic: Topic, data: AnyEventData, run_id: str = "run-1", project: str = "shop") -> None:
        """Submit something."""
        count = sum(len(records) for records in self.log.records.values())
        event = Event(f"said-{count}", "/test", run_id, START, data)
        await self.log.submit(topic, [NewRecord(project, write_submission(event, project))])

    async def start(
        self,
        phases: list[dict[str, Any]] | None = None,
        run_id: str = "run-1",
        project: str = "shop",
        **changes: Any,
    ) -> None:
        """A run whose first builds are asked for."""
        await self.say(Topic.COMMANDS, plan(phases, run_id=run_id, project=project, **changes), run_id, project)
        await until(lambda: bool(self._of(run_id, PrepareRequested)))
        request_id = self._of(run_id, PrepareRequested)[0].event.id
        prepared = RunPrepared(request_id=request_id, base_commit=BASE, configuration=Configuration())
        await self.say(Topic.RESULTS, prepared, run_id, project)
        await until(lambda: bool(self._of(run_id, BuildRequested)))

    async def cancel(self, run_id: str = "run-1") -> None:
        """Cancel a run."""
        await self.say(Topic.COMMANDS, RunCancelRequested(reason="enough"), run_id)

    def _of(self, run_id: str, event_type: type[EventData]) -> list[HistoryEvent]:
        return [one for one in self.history(event_type) if one.event.run_id == run_id]


@asynccontextmanager
async def supervised(partition_count: int = 1) -> AsyncIterator[Stage]:
    """A log whose partitions are supervised as long as the block lasts."""
    log = MemoryLog(partition_count)
    log.now = datetime.now(UTC)
    stop = asyncio.Event()
    supervisor = Supervisor(log, Snapshots(Store(), "log"), Limits(), ServiceStatus("supervisor"))
    task = asyncio.create_task(supervisor.run(stop))
    try:
        yield Stage(log)
    finally:
        log.away = False
        stop.set()
        log.wake()
        await asyncio.wait({task})
        task.result()


@dataclass
class Running:
    """A runner and how it stands."""

    runner: Runner
    status: ServiceStatus
    task: asyncio.Task[None]
    stop: asyncio.Event


@asynccontextmanager
async def working(
    stage: Stage,
    worker: Doer,
    store: Store | None = None,
    capacity: int = 4,
    grace_seconds: float = 0.0,
    session_seconds: float = 10.0,
) -> AsyncIterator[Running]:
    """A runner at work as long as the block lasts."""
    status = ServiceStatus(worker.name)
    settings = RunnerSettings(capacity, grace_seconds, session_seconds)
    runner = Runner(stage.log, worker, store or Store(), settings, status)
    stop = asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    try:
        yield Running(runner, status, task, stop)
    finally:
        stop.set()
        stage.log.wake()
        await asyncio.wait({task})
        task.result()
