"""A storm of rebalances: members join groups and leave them all the time, in order and by SIGKILL."""

import asyncio
import itertools
import signal
from collections.abc import Sequence

from faults.fleet import Fleet

WORKING = ("supervisor", "builder", "auditor", "applier", "verifier")
"""The services that share out partitions among their instances."""


async def storm(fleet: Fleet, services: Sequence[str], seconds: float, every_seconds: float) -> int:
    """Every so often a member of each group leaves and another joins. Returns how many have come and gone.

    Each stays for two of those spans, so that none is alone with the member that is always there.
    """
    until = asyncio.get_running_loop().time() + seconds
    ends, came = itertools.cycle((signal.SIGTERM, signal.SIGKILL)), 0
    async with asyncio.TaskGroup() as members:
        while asyncio.get_running_loop().time() < until:
            for service in services:
                members.create_task(_stay(fleet, service, next(ends), 2 * every_seconds))
                came += 1
            await asyncio.sleep(every_seconds)
    return came


async def _stay(fleet: Fleet, service: str, ends_by: signal.Signals, seconds: float) -> None:
    async with fleet.another(service, ends_by):
        await asyncio.sleep(seconds)
