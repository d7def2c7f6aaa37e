"""Driving runs through the services, and watching in the history how long each phase takes."""

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson

from benchmarks.ground import Ground
from events.catalogue import Topic
from events.envelope import write_submission
from events.event import Event
from events.families.run import RunRequested
from events.log.port import NewRecord, Place, StoredRecord
from support.scenario import START, plan

STALLED_SECONDS = 60.0
_WATCHED = ("BuildRequested", "PhaseCompleted", "RunCompleted", "RunFailed")


@dataclass(frozen=True, slots=True)
class Load:
    """`runs` runs of `phases` phases, one after another; `at_once` of them at a time, dealt out to projects.

    `changes` are made to the plan of each.
    """

    runs: int
    phases: int
    at_once: int
    projects: tuple[str, ...]
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Observed:
    """`phase_seconds` from BuildRequested to PhaseCompleted, each as it was read from the history.

    `records` are place and time of each event: partition, offset, and when the log took it, in seconds.
    """

    wall_seconds: float = 0.0
    phase_seconds: list[float] = field(default_factory=list)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    events: int = 0
    records: list[tuple[int, int, float]] = field(default_factory=list)


class Driver:
    """Submits runs, the next whenever one has ended, and watches."""

    def __init__(self, ground: Ground, load: Load) -> None:
        self._ground = ground
        self._load = load
        self._to_start = iter(range(load.runs))
        self._running: set[str] = set()
        self._asked_at: dict[tuple[str, str], float] = {}
        self.observed = Observed()

    async def drive(self) -> Observed:
        """The whole load. Raises TimeoutError where nothing moves any more."""
        log, tail = self._ground.log, self._ground.log.tail()
        try:
            for partition, end in (await log.ends(Topic.EVENTS)).items():
                tail.follow(Place(Topic.EVENTS, partition), end, _WATCHED)
            spent, begun_at = self._ground.cpu_seconds(), time.perf_counter()
            await self._start(self._load.at_once)
            while self._running:
                batches = await tail.batches(STALLED_SECONDS)
                if not batches:
                    raise TimeoutError(f"nothing has happened in {sorted(self._running)[:5]}")
                ended = sum(self._take(record) for records in batches.values() for record in records)
                await self._start(ended)
            self.observed.wall_seconds = time.perf_counter() - begun_at
            after = self._ground.cpu_seconds()
            self.observed.cpu_seconds = {name: seconds - spent[name] for name, seconds in after.items()}
        finally:
            await tail.close()
        return self.observed

    async def _start(self, count: int) -> None:
        records = [self._request(number) for number in itertools.islice(self._to_start, count)]
        if records:
            await self._ground.log.submit(Topic.COMMANDS, records)

    def _request(self, number: int) -> NewRecord:
        project = self._load.projects[number % len(self._load.projects)]
        phases = [
            {"phase_id": f"P{index}", "depends_on": [f"P{index - 1}"] if index else []}
            for index in range(self._load.phases)
        ]
        run_id = f"run-{uuid4()}"
        self._running.add(run_id)
        data: RunRequested = plan(phases, run_id=run_id, project=project, **self._load.changes)
        event = Event(f"start-{run_id}", "/benchmarks", run_id, START, data)
        return NewRecord(project, write_submission(event, project), {"type": data.type_name().encode()})

    def _take(self, record: StoredRecord) -> int:
        """How many runs have ended with this record."""
        self.observed.events += 1
        self.observed.records.append((record.partition, record.offset, record.recorded_at.timestamp()))
        name = (record.type_name or "").removeprefix("autopack.").partition(".")[0]
        if name not in _WATCHED:
            return 0
        now, raw = time.perf_counter(), orjson.loads(record.value)
        run_id = raw["runid"]
        if run_id not in self._running:
            return 0
        if name == "BuildRequested":
            self._asked_at[run_id, raw["data"]["phase_id"]] = now
        elif name == "PhaseCompleted":
            self.observed.phase_seconds.append(now - self._asked_at.pop((run_id, raw["data"]["phase_id"])))
        else:
            if name == "RunFailed":
                raise AssertionError(f"a run failed: {raw['data']}")
            self._running.remove(run_id)
            return 1
        return 0
