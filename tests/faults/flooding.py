"""A flood of requests over HTTP while servers are away: each is answered in time, and taken in the end."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from faults.builds import NOWHERE, kind_of, nowhere
from faults.driving import PHASES
from faults.emitting import AWAY, REFUSED, TAKEN
from faults.ground import Ground

EVERY_SECONDS = 0.05
AGAIN_SECONDS = 2.0
MOST_WAITING = 100
"""Requests that are not taken yet: more of them would measure the machine."""
NEW_EVERY = 10
"""Every so many requests one is for a run that is new, and ends at once; the others are for one that there is."""


class FloodedBadly(Exception):
    """A request was answered with what nobody promises, or not at all by a service that must live."""


class Flood:
    """Asks without pause, each request under an id of its own, and again under that id until it is taken."""

    def __init__(self, place: Ground, group: asyncio.TaskGroup) -> None:
        self._place, self._group = place, group
        self._numbers = itertools.count(1)
        self._waiting = 0
        self.taken = 0
        self.sent_away = 0
        self.slowest_seconds = 0.0

    async def pour(self) -> None:
        """Until cancelled."""
        while True:
            if self._waiting < MOST_WAITING:
                is_new = next(self._numbers) % NEW_EVERY == 0
                self._waiting += 1
                self._group.create_task(self._ask(nowhere(uuid4().hex) if is_new else self._known()))
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
        self._waiting -= 1
        self._place.emitter.tell_posted(event_id)
        if kind_of(data["run_id"]) == NOWHERE:
            self._place.emitter.acknowledged.add((data["project"], data["run_id"]))

    async def _is_taken(self, data: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        began = asyncio.get_running_loop().time()
        status = await self._place.emitter.post_once(data, headers)
        self.slowest_seconds = max(self.slowest_seconds, asyncio.get_running_loop().time() - began)
        is_refused = status == REFUSED and kind_of(data["run_id"]) != NOWHERE
        if status not in (*TAKEN, AWAY) and not is_refused:
            raise FloodedBadly(f"status {status}, where a run was asked for")
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

    Raises TimeoutError, and in a group FloodedBadly and `faults.emitting.Unanswered`.
    """
    async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
        yield Flood(place, group)
        limit.reschedule(asyncio.get_running_loop().time() + seconds)
