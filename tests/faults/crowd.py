"""A crowd: many runs asked for at once in a few projects, whose agents take a moment each."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from events.catalogue import Topic
from events.log.port import Place, StoredRecord
from faults.changed import QUICK
from faults.ground import Ground, ground
from faults.invariants import judge_log
from faults.invariants.gathering import read_log
from support.builds import request

PROJECTS = ("shop", "yard", "mill")
SAMPLE_SECONDS = 0.5
BASE_RUNS = 30
"""Come first, so that every service has done all that it does before its memory is looked at."""
MEMORY_MIB = 48.0
"""What a service may grow by, whatever the crowd: batches, caches, and what the allocator keeps."""
ALLOCATOR_MIB = 12.0
RUN_KIB = 16.0
"""What a service may grow by for a small crowd: a leak in each run has to be seen before thousands have come."""
SUPERVISOR_KIB_A_RUN = 24.0
"""What its supervisor keeps of a run that waits: the plan, and where the run stands."""
_WAITING = re.compile(r'^autopack_(waiting|oldest_waiting_seconds)\{kind="run"\} (\S+)$', re.MULTILINE)


@dataclass
class Seen:
    """What was seen of a crowd: the order in which runs entered the history and began, and what became of them."""

    requested: dict[str, list[str]] = field(default_factory=dict)
    begun: dict[str, list[str]] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)
    memory_mib: list[Mapping[str, float]] = field(default_factory=list)
    waiting: list[tuple[float, float]] = field(default_factory=list)
    base_mib: Mapping[str, float] = field(default_factory=dict)

    def take(self, record: StoredRecord) -> None:
        """One more record of the history."""
        name = (record.type_name or "..").split(".")[1]
        self.events[name] += 1
        order = {"RunRequested": self.requested, "PrepareRequested": self.begun}.get(name)
        if order is not None:
            order.setdefault(str(record.key), []).append(record.headers["run"].decode())

    @property
    def ended(self) -> int:
        """How many runs have come to their end."""
        return self.events["RunCompleted"] + self.events["RunFailed"]


@dataclass(frozen=True)
class Crowd:
    """So many runs, of which each project begins so many at once; without a limit it begins all."""

    runs: int
    runs_at_once: int | None
    limit_seconds: float


async def crowd(
    folder: Path, log_url: str, database_url: str, prefix: str, asked: Crowd
) -> tuple[Seen, list[str]]:
    """Let a crowd come, and work it off; what was seen, and what of it does not hold."""
    limit = {} if asked.runs_at_once is None else {"AUTOPACK_RUNS_AT_ONCE": str(asked.runs_at_once)}
    world = ground(folder, log_url, database_url, topic_prefix=prefix, change=QUICK, settings_of_services=limit)
    async with world as place:
        seen = Seen()
        async with asyncio.timeout(asked.limit_seconds), asyncio.TaskGroup() as group:
            following = group.create_task(_follow(place, seen))
            await _submit(place, "base", BASE_RUNS)
            await _until_ended(place, seen, BASE_RUNS)
            seen.base_mib = _memory_mib(place)
            await _submit(place, "crowd", asked.runs)
            await _until_ended(place, seen, BASE_RUNS + asked.runs)
            following.cancel()
        await place.until_served(asked.limit_seconds)
    broken = judge_log(await read_log(place.world), place.world)
    return seen, [*_violations(seen, asked), *broken, *map(str, place.fleet.unexpected), *place.fleet.stuck]


def _plans(place: Ground, name: str, count: int) -> Iterator[dict[str, Any]]:
    repository = place.world.repositories[0]
    for number in range(count):
        project = PROJECTS[number % len(PROJECTS)]
        yield request(repository, 1, project=project, run_id=f"{name}-{number:06}")


async def _submit(place: Ground, name: str, count: int) -> None:
    await place.emitter.submit_all(list(_plans(place, name, count)))


async def _follow(place: Ground, seen: Seen) -> None:
    tail = place.log.tail()
    try:
        for partition in range(place.log.partition_count):
            tail.follow(Place(Topic.EVENTS, partition), 0)
        while True:
            for records in (await tail.batches(1.0)).values():
                for record in records:
                    seen.take(record)
    finally:
        await tail.close()


async def _until_ended(place: Ground, seen: Seen, count: int) -> None:
    while seen.ended < count:
        await asyncio.sleep(SAMPLE_SECONDS)
        seen.memory_mib.append(_memory_mib(place))
        told = {name: float(value) for name, value in _WAITING.findall(await place.emitter.get("/metrics"))}
        if told:
            seen.waiting.append((told["waiting"], told["oldest_waiting_seconds"]))


def _memory_mib(place: Ground) -> dict[str, float]:
    """The resident memory of each service, in MiB."""
    return {name: _resident_kib(pid) / 1024 for name, pid in place.fleet.process_ids().items()}


def _resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def _violations(seen: Seen, asked: Crowd) -> Iterator[str]:
    yield from _out_of_order(seen)
    runs = asked.runs + BASE_RUNS
    for name in ("RunRequested", "PrepareRequested", "BuildRequested", "BuildSucceeded", "RunCompleted"):
        if seen.events[name] != runs:
            yield f"{seen.events[name]} of {name} for {runs} runs: an attempt was burnt, or a run lost"
    for name in ("BuildFailed", "RunFailed", "WorkRevoked"):
        if seen.events[name]:
            yield f"{seen.events[name]} of {name}, and nothing went wrong"
    yield from _untold(seen, asked)
    yield from grown(seen, asked)


def _out_of_order(seen: Seen) -> Iterator[str]:
    """Within a project runs enter the history as they were submitted, and begin as they entered it."""
    for project, requested in seen.requested.items():
        submitted = sorted(requested)  # a number is part of each name, and `base` comes before `crowd`
        if requested != submitted:
            yield f"{project}: runs entered the history in another order than they were submitted in"
        if seen.begun.get(project) != requested:
            yield f"{project}: runs began in another order than they were admitted in"


def _untold(seen: Seen, asked: Crowd) -> Iterator[str]:
    """Where projects begin a few runs at once, the metrics tell of the others, and how long the oldest waits."""
    if asked.runs_at_once is None:
        return
    most = max((count for count, _ in seen.waiting), default=0)
    if most < asked.runs / 4:
        yield f"the metrics showed {most} runs waiting at most, of {asked.runs}"
    longest = max((seconds for _, seconds in seen.waiting), default=0.0)
    rises = sum(after > before for (_, before), (_, after) in pairwise(seen.waiting))
    if longest < 1.0 or rises < 2:
        yield f"the metrics showed {longest} s of waiting at most"


def grown(seen: Seen, asked: Crowd) -> Iterator[str]:
    """Services that took more memory for a crowd than they may."""
    for name, base in seen.base_mib.items():
        most = max(sample.get(name, 0.0) for sample in seen.memory_mib)
        own = SUPERVISOR_KIB_A_RUN * asked.runs / 1024 if name == "supervisor" else 0.0
        if most - base > min(MEMORY_MIB, ALLOCATOR_MIB + RUN_KIB * asked.runs / 1024) + own:
            yield f"the {name} grew from {base:.0f} to {most:.0f} MiB"


def told(seen: Seen) -> str:
    """A line a service: its memory before the crowd, and at most."""
    lines = [
        f"  {name:<11}{base:6.0f} MiB before, {max(s.get(name, 0.0) for s in seen.memory_mib):6.0f} MiB at most"
        for name, base in sorted(seen.base_mib.items())
    ]
    count, seconds = (max((one[part] for one in seen.waiting), default=0.0) for part in (0, 1))
    return "\n".join([*lines, f"  {count:.0f} runs waited at most, the oldest for {seconds:.1f} s"])
