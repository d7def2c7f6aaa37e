"""How services stand while servers are away: without their log alive, not ready and saying why, and no larger
than before, whatever is asked of them; without one broker of several they go on.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
import psutil

from events.catalogue import Topic
from faults.fleet import SERVICES
from faults.flooding import flood
from faults.ground import Ground
from faults.invariants.read_models import checkpoints
from faults.outages import Outage

MEBIBYTE = 1 << 20
MOST_GROWTH_BYTES = 64 * MEBIBYTE
"""Of one service, whatever is submitted meanwhile: what waits in memory would be more in a minute."""
LOOK_SECONDS = 0.1
LIMIT_SECONDS = 90.0
RETURN_SECONDS = 180.0
"""Within which history and tables have to move again, where servers had to be started anew."""


class StoodBadly(Exception):
    """Services did not stand an outage as they should."""


async def stand(place: Ground, name: str, outage: Outage, seconds: float) -> str:
    """Have the log away so long, and until all services have said that they are not ready, while requests pour
    in; then all goes on.

    Returns how it was, in a few lines. Raises StoodBadly, also in a group, and FloodedBadly in one.
    """
    await _until_ready(place)
    lives, before, told = place.fleet.process_ids(), memory(place), list[str]()
    most = Counter(before)
    async with flood(place, LIMIT_SECONDS) as flooding:

        async def wait() -> None:
            async with asyncio.TaskGroup() as group:
                helpers = [group.create_task(flooding.pour()), group.create_task(_watch_memory(place, most))]
                await asyncio.gather(asyncio.sleep(seconds), _until_unready(place, told))
                for helper in helpers:
                    helper.cancel()

        await outage(wait)
        ended = asyncio.get_running_loop().time()
        await _until_ready(place)
    took = asyncio.get_running_loop().time() - ended
    if place.fleet.process_ids() != lives:
        raise StoodBadly(f"{name}: services have ended\n{place.fleet.tails()}")
    most |= Counter(memory(place))
    grown = {one: most[one] - before[one] for one in before}
    if max(grown.values()) > MOST_GROWTH_BYTES:
        raise StoodBadly(f"{name}: services have grown by {_listed(grown)}")
    return (
        f"{name}: not ready ({told[0]}); all ready, the history moved and all was taken {took:.1f} s later\n"
        f"  {flooding}\n  MiB before {_listed(before)}\n  MiB grown {_listed(grown)}"
    )


async def go_on_without(place: Ground, name: str, outage: Outage, seconds: float) -> str:
    """Have one of several servers away so long, half of which the others may take to agree on that. Returns how
    it was. Raises StoodBadly.
    """
    took: list[float] = []

    async def wait() -> None:
        await asyncio.sleep(seconds / 2)
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(seconds / 2):
                await place.observer.until_moved()
        except TimeoutError:
            raise StoodBadly(f"{name}: the history stands still without it\n{place.fleet.tails()}") from None
        took.append(asyncio.get_running_loop().time() - began)
        await asyncio.sleep(seconds / 2 - took[0])

    await outage(wait)
    return f"{name}: the history moved on within {took[0]:.1f} s; MiB {memory_told(place)}"


async def come_back(place: Ground, name: str, outage: Outage, seconds: float) -> str:
    """Have a server away so long without which the history or the tables stand still: both go on afterwards.

    Returns how it was. Raises StoodBadly.
    """
    await outage(lambda: asyncio.sleep(seconds))
    began = asyncio.get_running_loop().time()
    still = ["history"]
    async with _limit(place, still, "stands still", RETURN_SECONDS):
        await place.observer.until_moved()
        still[:] = ["tables"]
        await _until_read(place, dict(place.observer.positions))
    took = asyncio.get_running_loop().time() - began
    return f"{name}: history and tables moved on {took:.1f} s later; MiB {memory_told(place)}"


async def _until_read(place: Ground, ends: Mapping[int, int]) -> None:
    """Wait until every projection has read the history up to there."""
    while not await _is_read(place.world.database_url, ends):
        await asyncio.sleep(LOOK_SECONDS)


async def _is_read(database_url: str, ends: Mapping[int, int]) -> bool:
    try:
        found = [one for one in await checkpoints(database_url) if one.topic == Topic.EVENTS]
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    written = {partition for partition, end in ends.items() if end}
    missing = written - {one.partition for one in found}
    return not missing and all(one.next_offset >= ends[one.partition] for one in found)


async def _watch_memory(place: Ground, most: Counter[str]) -> None:
    """The largest that each service is seen to be, until cancelled."""
    while True:
        most |= Counter(memory(place))
        await asyncio.sleep(LOOK_SECONDS)


def memory(place: Ground) -> Mapping[str, int]:
    """The resident bytes of each service that runs."""
    return {one: psutil.Process(pid).memory_info().rss for one, pid in place.fleet.process_ids().items()}


def memory_told(place: Ground) -> str:
    """The same, in MiB, in words."""
    return _listed(memory(place))


async def _until_unready(place: Ground, told: list[str]) -> None:
    """The API answers, and says why not; all of them let their files of readiness go."""
    left = [*SERVICES]
    async with _limit(place, left, "say that they are ready"):
        while (trouble := await _trouble(place)) is None or "log" not in trouble:
            await asyncio.sleep(LOOK_SECONDS)
        told.append(trouble["log"])
        while left:
            left[:] = [service for service in SERVICES if _is_ready(place, service)]
            if await place.emitter.ask("/health/live") is None:
                raise StoodBadly("the API does not live")
            await asyncio.sleep(LOOK_SECONDS)


async def _until_ready(place: Ground) -> None:
    left = [*SERVICES]
    async with _limit(place, left, "are not ready, or the history stands still"):
        await place.observer.until_moved()
        while left:
            left[:] = [service for service in SERVICES if not _is_ready(place, service)]
            await asyncio.sleep(LOOK_SECONDS)
        while (trouble := await _trouble(place)) != {}:
            left[:] = [f"by /health/ready {trouble}"]
            await asyncio.sleep(LOOK_SECONDS)
        left.clear()


def _is_ready(place: Ground, service: str) -> bool:
    return (place.world.homes[0] / "ready" / service).exists()


async def _trouble(place: Ground) -> Mapping[str, str] | None:
    """What the API says is in the way; None where it says nothing."""
    answer = await place.emitter.ask("/health/ready")
    if answer is None:
        return None
    troubles: Mapping[str, str] = answer.json()["troubles"]
    if (answer.status_code == 503) != bool(troubles):
        raise StoodBadly(f"{answer.status_code}: {answer.text}")
    return troubles


@asynccontextmanager
async def _limit(place: Ground, who: list[str], what: str, seconds: float = LIMIT_SECONDS) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        told = f"{', '.join(who)} {what} after {seconds:g} s, {len(place.unended())} runs go on"
        asked = f"{place.emitter.pending} requests are not taken; following broke off by: {place.observer.trouble}"
        raise StoodBadly(f"{told}\n{asked}\n{place.fleet.tails()}") from None


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{one} {size / MEBIBYTE:.0f}" for one, size in sizes.items())
