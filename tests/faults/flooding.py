"""A flood of requests over HTTP while servers are away: each is answered in time, and taken in the end."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from faults.builds import nowhere
from faults.driving import PHASES
from faults.emitting import AGAIN_SECONDS, AWAY, REFUSED, TAKEN
from faults.ground import Ground

EVERY_SECONDS = 0.04
ANSWER_SECONDS = 25.0
"""The API gives the database 8 s, and then the log 10 s, before it says that one of them is away."""
NEW_EVERY = 10
"""Every so many requests one is for a run that is new, and ends at once; the others are for one that there is."""


class FloodedBadly(Exception):
    """A request was answered too late, or with what nobody promises."""


class Flood:
    """Asks without pause, each request under an id of its own, and again under that id until it is taken."""

    def __init__(self, place: Ground, group: asyncio.TaskGroup) -> None:
        self._place, self._group = place, group
        self._numbers = itertools.count(1)
        self.taken = 0
        self.sent_away = 0
        self.slowest_seconds = 0.0

    async def pour(self) -> None:
        """Until cancelled."""
        while True:
            number = next(self._numbers)
            self._group.create_task(self._ask(nowhere(uuid4().hex) if number % NEW_EVERY == 0 else self._known()))
            await asyncio.sleep(EVERY_SECONDS)

    def _known(self) -> dict[str, Any]:
        """A run that the history has already: the request is refused, or taken and refused later."""
        project, run_id = next(iter(self._place.observer.newest))
        return {**self._place.plans.next(PHASES), "project": project, "run_id": run_id}

    async def _ask(self, data: Mapping[str, Any]) -> None:
        event_id = str(uuid4())
        while not await self._is_taken(data, {"Idempotency-Key": event_id, "Prefer": "wait=0"}):
            await asyncio.sleep(AGAIN_SECONDS)
        self.taken += 1
        self._place.emitter.tell_posted(event_id)
        run = (data["project"], data["run_id"])
        if run not in self._place.observer.newest:
            self._place.emitter.acknowledged.add(run)

    async def _is_taken(self, data: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        began = asyncio.get_running_loop().time()
        status = await self._place.emitter.post_once(data, headers)
        took = asyncio.get_running_loop().time() - began
        self.slowest_seconds = max(self.slowest_seconds, took)
        if took > ANSWER_SECONDS or status not in (*TAKEN, AWAY, REFUSED):
            raise FloodedBadly(f"status {status} after {took:.1f} s")
        self.sent_away += status == AWAY
        return status != AWAY

    def __str__(self) -> str:
        return (
            f"{self.taken} requests taken, after {self.sent_away} answers that they cannot be now; "
            f"the slowest answer took {self.slowest_seconds:.1f} s"
        )


@asynccontextmanager
async def flood(place: Ground, seconds: float) -> AsyncIterator[Flood]:
    """Requests that may pour as long as the block lasts; all of them have been taken so many seconds afterwards.

    Raises TimeoutError, and FloodedBadly in a group.
    """
    async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
        yield Flood(place, group)
        limit.reschedule(asyncio.get_running_loop().time() + seconds)
