"""Keeps builds going for as long as faults are wanted, and has everything checked afterwards."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from faults.builds import TRACKED_PHASE, end_of, tracked
from faults.ground import Ground
from faults.invariants import judge
from faults.invariants.gathering import gather
from faults.observer import Run

LOOK_SECONDS = 0.2
EVENTS_A_RUN = 5_100
"""More than a snapshot is kept for."""
PHASES = 3
"""One of each behaviour."""


@dataclass(frozen=True)
class Load:
    """How many runs go on at once, and how many events there are to be at least."""

    runs_at_once: int
    events: int = 0


async def build_until(place: Ground, load: Load, is_enough: Callable[[], bool], seconds: float) -> None:
    """Ask for runs, over HTTP and by the log in turn, so that some go on until it is enough.

    Runs that wait until they are cancelled take the events that no build makes. Raises TimeoutError.
    """
    async with asyncio.timeout(seconds):
        await _build(place, load, is_enough)


async def build_while(place: Ground, load: Load, faults: Coroutine[Any, Any, object], seconds: float) -> None:
    """Build until the faults are over, and go down with them at once where they fail.

    Raises TimeoutError, and in a group whatever the faults raise.
    """
    async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
        striking = group.create_task(faults, name="faults")
        await _build(place, load, striking.done)


async def _build(place: Ground, load: Load, is_enough: Callable[[], bool]) -> None:
    async with asyncio.TaskGroup() as group:
        lengthening = group.create_task(_lengthen(place, load))
        asked: set[Run] = set()
        while not (is_enough() and lengthening.done()):
            if len(asked - place.observer.ended.keys()) < load.runs_at_once:
                data = place.plans.next(PHASES)
                group.create_task((place.emitter.post if len(asked) % 2 else place.emitter.submit)(data))
                asked.add((data["project"], data["run_id"]))
            await place.observer.moved(LOOK_SECONDS)


async def _lengthen(place: Ground, load: Load) -> None:
    """A run at a time is made long, and cancelled when the history shows all of it."""
    for number in range(-(-load.events // EVENTS_A_RUN)):
        waiting = tracked(number)
        await place.emitter.submit(waiting)
        run = (waiting["project"], waiting["run_id"])
        wanted = min(EVENTS_A_RUN, load.events - number * EVENTS_A_RUN)
        await place.emitter.report_issues(run, TRACKED_PHASE, wanted)
        while place.observer.issues[run] < wanted:
            await place.observer.moved(LOOK_SECONDS)
        await place.emitter.cancel(run)


async def verdict(place: Ground) -> list[str]:
    """What does not hold in a world whose services have ended: the invariants, and what was seen meanwhile.

    No fault is an agent's, and none uses up an attempt: what nobody cancelled has succeeded.
    """
    ends = {run: state for run, state in place.observer.ended.items() if state != end_of(run[1])}
    evidence = await gather(place.world)
    return [
        *judge(evidence),
        *(f"end: run {'/'.join(run)} ended as {state}" for run, state in ends.items()),
        *(f"stream: {broken}" for broken in place.emitter.watches.violations(evidence.log)),
        *(f"temporary: {left} is left" for left in sorted(place.temporary.iterdir())),
        *(f"service: {end}" for end in place.fleet.unexpected),
        *(f"service: {name} did not stop when it was told to" for name in place.fleet.stuck),
    ]
