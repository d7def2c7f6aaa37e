"""Keeps builds going for as long as faults are wanted, and has everything checked afterwards."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from faults import scripts
from faults.builds import CANCELLED, ENDS, REFUSED, TRACKED_PHASE, kind_of, tracked, unacceptable
from faults.ground import Ground
from faults.invariants import judge
from faults.invariants.gathering import gather
from faults.observer import Run

LOOK_SECONDS = 0.2
EVENTS_A_RUN = 5_100
"""More than a snapshot is kept for."""
PHASES = 3
"""One of each behaviour."""
ASTRAY_EVERY, CANCELLED_EVERY, REFUSED_EVERY = 4, 7, 3
"""Every so many runs one lies in a partition that is not its home, is cancelled, or cannot be."""


@dataclass(frozen=True)
class Load:
    """How many runs go on at once, and how many events there are to be at least."""

    runs_at_once: int
    events: int = 0


async def build_until(place: Ground, load: Load, is_enough: Callable[[], bool], seconds: float) -> None:
    """Ask for runs, over HTTP and by the log, so that some go on until it is enough.

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
                data, asking = _next(place, len(asked))
                group.create_task(asking)
                asked.add((data["project"], data["run_id"]))
                if len(asked) % REFUSED_EVERY == 0:
                    group.create_task(_ask_in_vain(place))
            await place.observer.moved(LOOK_SECONDS)


def _next(place: Ground, number: int) -> tuple[Mapping[str, Any], Coroutine[Any, Any, None]]:
    """The next run, and how it is asked for: over HTTP, by a record at home or astray, or to be cancelled.

    Targets take turns, one run each; so the ways take turns by twos.
    """
    if number % CANCELLED_EVERY == CANCELLED_EVERY - 1:
        data = place.plans.next(PHASES, CANCELLED)
        return data, _cancel(place, data)
    data = place.plans.next(PHASES)
    if number // 2 % 2:
        return data, place.emitter.post(data)
    astray = next(one for one in place.plans.projects if one != data["project"])
    return data, place.emitter.submit(data, astray if number % ASTRAY_EVERY == 0 else None)


async def _cancel(place: Ground, data: Mapping[str, Any]) -> None:
    """Ask for a run, and cancel it when it has begun to build."""
    await place.emitter.submit(data)
    run, observer = (data["project"], data["run_id"]), place.observer
    building = lambda: any((r.run, r.kind) == (run, "BuildRequested") for r in observer.open.values())  # noqa: E731
    while run not in observer.ended and not building():
        await observer.moved(LOOK_SECONDS)
    await place.emitter.cancel(run)


async def _ask_in_vain(place: Ground) -> None:
    """By the log and over HTTP, for what cannot be."""
    data = unacceptable(place.plans.next(PHASES, REFUSED))
    await place.emitter.submit_unacceptable(data)
    await place.emitter.post_unacceptable(data)


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

    No fault is an agent's, and none uses up an attempt: what nobody cancelled has succeeded, at the first try.
    """
    ended = place.observer.ended
    ends = {run: state for run, state in ended.items() if state not in ENDS[kind_of(run[1])]}
    evidence = await gather(place.world)
    return [
        *judge(evidence),
        *(f"end: run {'/'.join(run)} ended as {state}" for run, state in ends.items()),
        *(f"script: {wrong}" for wrong in scripts.violations(evidence.log)),
        *(f"stream: {broken}" for broken in place.emitter.watches.violations(evidence.log)),
        *(f"temporary: {left} is left" for left in sorted(place.temporary.iterdir())),
        *(f"service: {end}" for end in place.fleet.unexpected),
        *(f"service: {name} did not stop when it was told to" for name in place.fleet.stuck),
    ]
