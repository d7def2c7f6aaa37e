"""Histories as the supervisor writes them, in a log that is a list in memory."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from events.catalogue import Topic
from events.event import Event
from events.families.base import Finding, Tokens, Usage, Violation
from events.families.failure import FailureClass
from events.families.run import RunRequested
from events.families.verify import CheckOutcome, CheckResult
from events.history import HistoryRecord, PartitionState, chain, fold
from events.log.partitions import home_partition
from events.log.port import HistoryCutOff, LogUnavailable, NewRecord, Place, StoredRecord
from events.state import Project
from support.scenario import MENDED, START, Scenario, plan
from support.simulation import Tape, World


class ListLog:
    """The readers' half of the port over lists. Offsets leave gaps where `gap` says so."""

    def __init__(self, partition_count: int = 1, gap: int = 1) -> None:
        self.partition_count = partition_count
        self.records: dict[Place, list[StoredRecord]] = defaultdict(list)
        self.away = False
        self.first: dict[Place, int] = defaultdict(int)
        self.reads = 0
        self._gap = gap
        self._came = asyncio.Event()

    def append(self, topic: Topic, record: NewRecord, at: datetime = START) -> StoredRecord:
        place = Place(topic, home_partition(record.key, self.partition_count))
        before = self.records[place]
        offset = before[-1].offset + self._gap if before else 0
        stored = StoredRecord(topic, place.partition, offset, record.key, record.value, dict(record.headers), at)
        before.append(stored)
        self._came.set()
        return stored

    def write(self, records: Sequence[HistoryRecord]) -> None:
        for record in records:
            headers = {"type": record.type_name.encode(), "run": record.run_id.encode()}
            self.append(Topic.EVENTS, NewRecord(record.project, record.value, headers))

    async def read(self, place: Place, start: int, end: int | None = None) -> Sequence[StoredRecord]:
        if self.away:
            raise LogUnavailable("away")
        if place.topic is Topic.EVENTS and start < self.first[place]:
            raise HistoryCutOff(place, start, self.first[place])
        self.reads += 1
        found = [r for r in self.records[place] if r.offset >= start and (end is None or r.offset < end)]
        return found[:50]

    async def ends(self, topic: Topic) -> Mapping[int, int]:
        if self.away:
            raise LogUnavailable("away")
        return {
            place.partition: records[-1].offset + 1
            for place, records in self.records.items()
            if place.topic is topic and records
        }

    def tail(self) -> "ListTail":
        return ListTail(self)

    async def join(self, group: str) -> "ListMembership":
        return ListMembership(frozenset(range(self.partition_count)))

    async def came(self, wait_seconds: float) -> None:
        self._came.clear()
        try:
            async with asyncio.timeout(wait_seconds):
                await self._came.wait()
        except TimeoutError:
            return


class ListTail:
    def __init__(self, log: ListLog) -> None:
        self._log = log
        self._at: dict[Place, int] = {}

    def follow(self, place: Place, offset: int, prompt: Collection[str] | None = None) -> None:
        self._at[place] = offset

    def unfollow(self, place: Place) -> None:
        self._at.pop(place, None)

    async def batches(self, wait_seconds: float) -> Mapping[Place, Sequence[StoredRecord]]:
        found = await self._found()
        if not found:
            await self._log.came(wait_seconds)
            found = await self._found()
        return found

    async def _found(self) -> dict[Place, Sequence[StoredRecord]]:
        found = {place: await self._log.read(place, at) for place, at in list(self._at.items())}
        for place, records in found.items():
            if records:
                self._at[place] = records[-1].offset + 1
        return {place: records for place, records in found.items() if records}

    async def close(self) -> None:
        self._at.clear()


@dataclass
class ListMembership:
    partitions: frozenset[int]
    instance: str = "projector-1"
    left: bool = False

    @property
    def is_expelled(self) -> bool:
        return False

    async def leave(self) -> None:
        self.left = True


@dataclass
class Recorder(World):
    """A world that keeps what was written."""

    history: list[HistoryRecord] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def _write(self, event: Event, record: HistoryRecord) -> None:
        super()._write(event, record)
        self.history.append(record)
        self.events.append(event)


def random_history(seed: int, choices: int = 400) -> list[HistoryRecord]:
    """The story of up to three runs of one project, with all that can go wrong; the seed tells it again."""
    world = Recorder(Tape(random.Random(seed).randbytes(choices)))
    world.play()
    return world.history


def recorded(scenario: Scenario, run_id: str = "run-1", project: str = "shop") -> list[HistoryRecord]:
    """The records of a scenario of one run, as another run's."""
    events = [_renamed(event, run_id, project) for event in scenario.history]
    records, _ = chain(PartitionState().heads, project, events)
    return records


def _renamed(event: Event, run_id: str, project: str) -> Event:
    names = {"run_id": run_id, "project": project}
    data = event.data.model_copy(update=names) if isinstance(event.data, RunRequested) else event.data
    return replace(event, run_id=run_id, source=f"{event.source}/{run_id}", data=data)


def folded(records: Sequence[HistoryRecord], project: str = "shop") -> Project:
    """The state that the decider would have."""
    state = PartitionState()
    for record in records:
        state = fold(state, record.value, record.type_name)
    return state.project(project)


def spent(tokens: int) -> Usage:
    return Usage(tokens=Tokens(input=tokens, reasoning=1), cost_usd=0.25, duration_seconds=2.0)


RED = CheckResult(name="tests", outcome=CheckOutcome.FAILED, exit_code=1, output="assert 1 == 2")
GREEN = CheckResult(name="tests", outcome=CheckOutcome.PASSED, exit_code=0, tries=2, flaky=True, tests=7)
TWO_TIERS = [
    {"phase_id": "P1", "tier_id": "T1"},
    {"phase_id": "P2", "tier_id": "T2", "task_category": "schema_change"},
]


def success() -> Scenario:
    """Two tiers: the first phase is refused, then red, then lands; the second is audited and revised."""
    story = Scenario()
    story.say(plan(TWO_TIERS))
    story.later(1)
    story.claimed(None)
    story.prepared()
    story.claimed("P1")
    story.later(5)
    story.built("P1", usage=spent(100), files=["a.py"], lines_added=3)
    broken = Violation(rule="symlink", path="out", message="points out of the tree")
    story.not_applied(FailureClass.VIOLATIONS, "P1", violations=[broken])
    story.claimed("P1")
    story.built("P1", usage=spent(50), files=["a.py"], lines_added=2)
    story.applied(1, "P1")
    story.red("P1", checks=[RED])
    story.claimed("P1")
    story.built("P1", usage=spent(25), files=["a.py"], lines_added=1, summary="mended")
    story.applied(2, "P1")
    story.green("P1", checks=[GREEN])
    story.landed("P1")
    story.claimed("P2")
    story.built("P2", usage=spent(10))
    story.claimed("P2")
    finding = Finding(severity="major", message="too clever")
    story.audited("revise", "P2", MENDED, findings=[finding], usage=spent(5))
    story.audited("approve", "P2", usage=Usage())
    story.applied(3, "P2")
    story.green("P2")
    story.landed("P2")
    return story


def failure() -> Scenario:
    """One phase that breaks the rules until it is out of attempts, and one that never begins."""
    story = Scenario()
    story.say(plan([{"phase_id": "P1"}, {"phase_id": "P2"}]))
    story.prepared()
    broken = Violation(rule="protected", path=".github/workflows/x.yml", message="protected")
    while "run-1" in story.project.runs:
        story.claimed("P1")
        story.built("P1", usage=spent(10))
        story.not_applied(FailureClass.VIOLATIONS, "P1", violations=[broken])
    return story
