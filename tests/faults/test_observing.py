"""The harness's own look at what goes on outlives a server that takes along what it had acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from events.catalogue import Topic
from events.families.build import BuildSucceeded
from events.log.port import LogUnavailable, NewRecord, Place, StoredRecord, Tail
from faults.observer import Observer
from support.builds import submitted
from support.memory_log import MemoryLog, MemoryTail
from support.scenario import PATCH

HISTORY, RESULTS = Place(Topic.EVENTS, 0), Place(Topic.RESULTS, 0)
RUN = ("shop", "run-1")


class StrictTail(MemoryTail):
    """As the one on Postgres: it follows nothing where a position lies behind the end of its place."""

    async def batches(self, wait_seconds: float) -> Mapping[Place, Sequence[StoredRecord]]:
        for place, at in self._at.items():
            if at > len(self._log.records[place]):
                raise LogUnavailable(f"{place} was to be read from {at}")
        return await super().batches(wait_seconds)


class ForgetfulLog(MemoryLog):
    """Its results may go."""

    def tail(self) -> Tail:
        return StrictTail(self)

    async def die_and_come_back(self) -> None:
        """Whoever follows is told; all results are lost."""
        self.records[RESULTS].clear()
        self.away = True
        self.wake()
        await asyncio.sleep(0.05)
        self.away = False


def answer(number: int) -> NewRecord:
    data = BuildSucceeded(request_id=f"r{number}", phase_id="P1", attempt=1, patch=PATCH).model_dump(mode="json")
    return submitted("BuildSucceeded", data, RUN[1], RUN[0], id=f"answer-{number}")


def event(name: str) -> NewRecord:
    return submitted(name, {"request_id": "none"}, RUN[1], RUN[0], id=name)


@asynccontextmanager
async def observing(log: MemoryLog) -> AsyncIterator[Observer]:
    observer = Observer(log)
    following = asyncio.create_task(observer.follow())
    try:
        yield observer
    finally:
        following.cancel()
        await asyncio.wait({following})


async def test_the_history_is_seen_on_though_results_were_lost_that_had_been_seen() -> None:
    log = ForgetfulLog()
    async with observing(log) as observer, asyncio.timeout(10):
        await log.submit(Topic.RESULTS, [answer(number) for number in range(5)])
        log.write(HISTORY, event("PhaseStarted"))
        while len(observer.undecided) < 5 or RUN not in observer.newest:
            await observer.moved(0.1)
        await log.die_and_come_back()
        await log.submit(Topic.RESULTS, [answer(9)])
        log.write(HISTORY, event("PhaseCompleted"))
        while observer.newest[RUN] != "PhaseCompleted" or observer.undecided.keys() != {"answer-9"}:
            await observer.moved(0.1)


async def test_history_moves_where_runs_are_built_and_not_elsewhere() -> None:
    log = MemoryLog(2)
    async with observing(log) as observer, asyncio.timeout(10):
        log.write(HISTORY, event("PhaseStarted"))
        while RUN not in observer.newest:
            await observer.moved(0.1)
        moving = asyncio.create_task(observer.until_moved())
        await asyncio.sleep(0.05)
        log.write(Place(Topic.EVENTS, 1), submitted("PhaseStarted", {}, "run-2", "till", id="elsewhere"))
        while ("till", "run-2") not in observer.newest:
            await observer.moved(0.1)
        await asyncio.sleep(0.05)
        assert not moving.done()
        log.write(HISTORY, event("PhaseCompleted"))
        await moving
