"""Zombies: processes that stop in their tracks where they hold open work, are replaced, and go on much later."""

import asyncio
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from events.failpoints import STOP
from faults.failpoints import points_on
from faults.fleet import Fleet, service_of
from faults.members import shares
from faults.world import World

LOOK_SECONDS = 0.1
GIVING_UP = 5
"""So many times as long as one sleeps its group is waited for to give it up."""
ALONE = "api"
"""Of this one there is no second: nobody else can listen where it does."""
TELLING_STOPS: Mapping[str, Sequence[str]] = {
    "supervisor": ("decided:stop",),
    "builder": ("clone-made:stop", "diff-taken:stop"),
    "auditor": ("verdict-read:stop",),
    "applier": ("fence-set:stop",),
    "verifier": ("tree-made:stop",),
    "projector": ("rows-folded:stop",),
}
"""Each service before the one thing that it must not do any more once it has been replaced; a builder before two:
its agent must not start.
"""
SETTINGS = {"AUTOPACK_LOG_LEVEL": "info", "AUTOPACK_BUILDERS_AT_ONCE": "1", "AUTOPACK_AUDITORS_AT_ONCE": "1"}
"""The settings with which services say what they are refused, and have one agent in hand: of several, one might be
just about to start where the process stops for another, behind the last look whether it is still wanted.
"""
REFUSALS = (
    "has been expelled from",
    "member_id was not recognized",
    "generation id is not",
    "Heartbeat session expired",
    "fenced",
    "partition given up",
    "projector overtaken",
    "no answer within",
    "work given up",
    "left to another instance",
)
"""What a zombie says of itself: that its group has given it up, or its log, its checkpoint, its target refused it.

Which of them comes first is a race within it: it hears from the log that it was replaced while it does what it was
about to do. An answer that it gives before is refused by the log, and nobody tells it. What it would do without is
shown where nothing races, in tests of the log, of checkpoints and of integration.
"""


def stops_on(log: str) -> dict[str, list[str]]:
    """Every failpoint that a service can be stopped at, and replaced."""
    points = points_on(log).items()
    return {service: [f"{name}{STOP}" for name in names] for service, names in points if service != ALONE}


class Zombies:
    """Has another process join for each that is found to be stopped: then the first is one too many."""

    def __init__(self, fleet: Fleet, world: World) -> None:
        self._fleet = fleet
        self._world = world
        self._lengths: dict[str, int] = {}
        self.replaced_by: dict[str, str] = {}
        """The names of those that sleep, and of whoever took the place of each."""
        self.replaced = 0
        """How many there have been."""

    async def replace(self) -> None:
        """Until cancelled."""
        while True:
            self._look()
            await asyncio.sleep(LOOK_SECONDS)

    async def replace_and_wake(self, sleep_seconds: float) -> None:
        """Until cancelled; each goes on after that time, once its group knows others without it.

        Then the one that took its place leaves.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                for name in self._look():
                    group.create_task(self._wake_later(name, sleep_seconds))
                await asyncio.sleep(LOOK_SECONDS)

    def refusals(self) -> Mapping[str, list[str]]:
        """What each of those that were woken has said since, of the REFUSALS."""
        return {name: list(self._refused(name)) for name in self._lengths}

    def _refused(self, name: str) -> Iterator[str]:
        said = self._fleet.output_of(name).read_text("utf-8", "replace")[self._lengths[name] :]
        yield from (words for words in REFUSALS if words in said)

    def wake_all(self) -> list[str]:
        """Let all go on; their names."""
        woken = sorted(self.replaced_by)
        for name in woken:
            self._wake(name)
        return woken

    def _look(self) -> list[str]:
        """Whoever has been stopped since the last look, now replaced."""
        found = [name for name in self._fleet.stopped() if name not in self.replaced_by]
        for name in found:
            self.replaced_by[name] = self._fleet.join(service_of(name))
            self.replaced += 1
        return found

    async def _wake_later(self, name: str, sleep_seconds: float) -> None:
        # Where it was given up before it was looked for, it is among nobody's members, then and later.
        known = await self._members(name)
        await asyncio.sleep(sleep_seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVING_UP * sleep_seconds):
                while known <= await self._members(name):
                    await asyncio.sleep(LOOK_SECONDS)
        replacement = self.replaced_by[name]
        self._wake(name)
        await self._fleet.leave(replacement)

    async def _members(self, name: str) -> frozenset[str]:
        """Those of its group, which always has some."""
        while not (found := await shares(self._world, service_of(name))):
            await asyncio.sleep(LOOK_SECONDS)
        return frozenset(found)

    def _wake(self, name: str) -> None:
        del self.replaced_by[name]
        self._lengths[name] = len(self._fleet.output_of(name).read_text("utf-8", "replace"))
        self._fleet.send(name, signal.SIGCONT)
