"""A storm of rebalances: members join groups and leave them all the time, in order and by SIGKILL."""

import asyncio
import itertools
import signal
from collections.abc import Sequence

from faults.ground import Ground
from faults.members import Shares, shares

WORKING = ("supervisor", "builder", "auditor", "applier", "verifier", "projector")
"""The services that share out partitions among their instances."""
LOOK_SECONDS = 0.1
JOINING_SECONDS = 90.0
ENDS = (signal.SIGTERM, signal.SIGKILL)


class StormTooCalm(Exception):
    """Members that never joined, or that nothing was given to."""


async def storm(place: Ground, services: Sequence[str], seconds: float, every_seconds: float) -> int:
    """Every so often a member of each group leaves and another joins. Returns how many have come and gone.

    Each stays for two of those spans, from when the group knows it, so that none is alone with the member that is
    always there; and the next one to come waits for it, where joining takes longer than a span. Raises, in a
    group, StormTooCalm.
    """
    until = asyncio.get_running_loop().time() + seconds
    async with asyncio.TaskGroup() as group:
        raging = [group.create_task(_Group(place, one).rage(until, every_seconds)) for one in services]
    return sum(task.result() for task in raging)


class _Group:
    """What one group goes through, and who has held partitions of it."""

    def __init__(self, place: Ground, service: str) -> None:
        self._place = place
        self._service = service
        self._holders: set[str] = set()

    async def rage(self, until: float, every_seconds: float) -> int:
        loop, ends = asyncio.get_running_loop(), itertools.cycle(ENDS)
        came = 0
        async with asyncio.TaskGroup() as members:
            while loop.time() < until or came < len(ENDS):
                next_at = loop.time() + every_seconds
                name = await self._joined()
                members.create_task(self._stay(name, 2 * every_seconds, next(ends)))
                came += 1
                await asyncio.sleep(max(0.0, next_at - loop.time()))
        if len(self._holders) < 2:
            raise StormTooCalm(f"{came} members joined {self._service}, and only {self._holders} held partitions")
        return came

    async def _joined(self) -> str:
        """One more member, once the group knows one that it has not known before."""
        known = await self._other_than(frozenset())
        name = self._place.fleet.join(self._service)
        try:
            await self._other_than(known)
        except TimeoutError:
            said = self._place.fleet.said(name)
            raise StormTooCalm(f"{name} was no member after {JOINING_SECONDS:g} s\n{said}") from None
        return name

    async def _other_than(self, known: frozenset[str]) -> frozenset[str]:
        """The members, once there are others than these. Raises TimeoutError."""
        async with asyncio.timeout(JOINING_SECONDS):
            while not (members := frozenset(await self._look())) - known:
                await asyncio.sleep(LOOK_SECONDS)
        return members

    async def _stay(self, name: str, seconds: float, ends_by: signal.Signals) -> None:
        await asyncio.sleep(seconds)
        await self._look()
        await self._place.fleet.leave(name, ends_by)

    async def _look(self) -> Shares:
        found = await shares(self._place.world, self._service)
        self._holders |= {member for member, partitions in found.items() if partitions}
        return found
