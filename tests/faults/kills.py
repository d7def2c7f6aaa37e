"""SIGKILL at random moments, to services that hold open work: what they were at is read from the log."""

import asyncio
from collections import Counter
from random import Random

from faults.fleet import SERVICES
from faults.ground import Ground
from faults.invariants.evidence import ANSWERS
from faults.members import shares
from faults.observer import WORKERS, OpenRequest

LOOK_SECONDS = 0.02
WORKING = frozenset(WORKERS.values())
NO_ROWS, UNANSWERED, WATCHED = "rows not written", "a command is not answered", "a run is watched"
STEPS = (
    *(f"{service}: {OpenRequest(('', ''), kind, claimer=service)}" for kind, service in WORKERS.items()),
    *(f"supervisor: {answer} not decided" for answers in ANSWERS.values() for answer in answers[:1]),
    *("supervisor: RunRequested not decided", "supervisor: WorkStarted not decided"),
    *(f"projector: {NO_ROWS}", f"api: {UNANSWERED}", f"api: {WATCHED}"),
)
"""What a service can be at, as it is seen from outside, in every build that goes well."""


class Killer:
    """Kills one service after another. Where it strikes follows from a seed, and from what goes on just then."""

    def __init__(self, place: Ground, seed: int, longest_pause_seconds: float) -> None:
        self._place = place
        self._random = Random(seed)
        self._longest_pause_seconds = longest_pause_seconds
        self._dead: set[str] = set()
        self.struck: Counter[str] = Counter()

    async def kill(self, times: int) -> None:
        """Kill so many times, each after a pause, and each a service that holds open work at that moment."""
        for _ in range(times):
            await asyncio.sleep(self._random.uniform(0.0, self._longest_pause_seconds))
            chosen = self._random.choice(SERVICES)
            while not (steps := await self._steps(chosen)) or not self._place.fleet.kill(chosen):
                await self._place.observer.moved(LOOK_SECONDS)
            self.struck.update(f"{chosen}: {step}" for step in steps)

    async def _steps(self, service: str) -> set[str]:
        """What a service has begun and not ended, as it can be seen from outside."""
        observer, emitter = self._place.observer, self._place.emitter
        if service in WORKING:
            return await self._claimed(service)
        if service == "supervisor":
            return {f"{name} not decided" for name in observer.undecided.values()}
        if service == "projector":
            return {NO_ROWS} if await emitter.lag() else set()
        pending = {UNANSWERED} if emitter.pending else set()
        return pending | ({WATCHED} if emitter.watches.are_open else set())

    async def _claimed(self, service: str) -> set[str]:
        """Of the open work that some instance has claimed that of whoever runs now.

        All who were members when one was killed are taken for dead: so nothing counts that it had claimed.
        """
        found = {
            (one.claimer, str(one))
            for one in self._place.observer.open.values()
            if WORKERS[one.kind] == service and one.is_claimed and not one.is_external
        }
        if not found:
            return set()
        members = (await shares(self._place.world, service)).keys()
        steps = {step for claimer, step in found if claimer in members - self._dead}
        if steps:
            self._dead |= members
        return steps

    def table(self) -> str:
        """A line a step, with how often it was struck; also of those that can be struck and were not."""
        counts = dict.fromkeys(STEPS, 0) | self.struck
        return "\n".join(f"  {step:<46}{count:>5}" for step, count in sorted(counts.items()))
