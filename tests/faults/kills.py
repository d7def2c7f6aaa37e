"""SIGKILL at random moments, to services that hold open work: what they were at is read from the history."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from random import Random

from faults.fleet import SERVICES
from faults.ground import Ground
from faults.observer import WORKERS

LOOK_SECONDS = 0.02


class Killer:
    """Kills one service after another. Where it strikes follows from a seed, and from what goes on just then."""

    def __init__(self, place: Ground, seed: int, longest_pause_seconds: float) -> None:
        self._place = place
        self._random = Random(seed)
        self._longest_pause_seconds = longest_pause_seconds
        self.struck: Counter[str] = Counter()

    async def kill(self, times: int) -> None:
        """Kill so many times, each after a pause, and each a service that holds open work at that moment."""
        for _ in range(times):
            await asyncio.sleep(self._random.uniform(0.0, self._longest_pause_seconds))
            chosen = self._random.choice(SERVICES)
            while not (steps := sorted(self._steps(chosen))) or not self._place.fleet.kill(chosen):
                await self._place.observer.moved(LOOK_SECONDS)
            self.struck[f"{chosen}: {self._random.choice(steps)}"] += 1

    def _steps(self, service: str) -> Iterator[str]:
        """What a service has begun or is about to begin, as it can be seen from outside."""
        observer = self._place.observer
        if service in ("supervisor", "projector"):
            yield from {f"behind {observer.newest[run]}" for run in observer.active()}
        elif service == "api":
            yield from ["a command is not answered"] * bool(self._place.emitter.pending)
            yield from ["a run is watched"] * bool(observer.active())
        else:
            yield from {str(one) for one in observer.open.values() if WORKERS[one.kind] == service}

    def table(self) -> str:
        """A line a step, with how often it was struck."""
        return "\n".join(f"  {step:<46}{count:>5}" for step, count in sorted(self.struck.items()))
