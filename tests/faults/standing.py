"""How services stand while their log is away: alive, not ready and saying why, and no larger than before."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psutil

from faults.fleet import SERVICES
from faults.ground import Ground
from faults.outages import Outage

MEBIBYTE = 1 << 20
MOST_GROWTH_BYTES = 64 * MEBIBYTE
"""Of one service, whatever is submitted meanwhile: what waits in memory would be more in a minute."""
LOOK_SECONDS = 0.1
LIMIT_SECONDS = 90.0


class StoodBadly(Exception):
    """Services did not stand an outage as they should."""


async def stand(place: Ground, name: str, outage: Outage, seconds: float) -> str:
    """Have the log away so long, and until all services have said that they are not ready; then all goes on.

    Returns how it was, in a line or two. Raises StoodBadly.
    """
    await _until_ready(place)
    lives, before = place.fleet.process_ids(), memory(place)
    told: list[str] = []

    async def wait() -> None:
        await asyncio.gather(asyncio.sleep(seconds), _until_unready(place, told))

    await outage(wait)
    during, ended = memory(place), asyncio.get_running_loop().time()
    await _until_ready(place)
    after, took = memory(place), asyncio.get_running_loop().time() - ended
    if place.fleet.process_ids() != lives:
        raise StoodBadly(f"{name}: services have ended\n{place.fleet.tails()}")
    grown = {one: max(during[one], after[one]) - before[one] for one in before}
    if max(grown.values()) > MOST_GROWTH_BYTES:
        raise StoodBadly(f"{name}: services have grown by {_listed(grown)}")
    return (
        f"{name}: not ready ({told[0]}); all ready, and the history moved, {took:.1f} s later\n"
        f"  MiB before {_listed(before)}\n  MiB grown {_listed(grown)}"
    )


def memory(place: Ground) -> Mapping[str, int]:
    """The resident bytes of each service that runs."""
    return {one: psutil.Process(pid).memory_info().rss for one, pid in place.fleet.process_ids().items()}


def memory_told(place: Ground) -> str:
    """The same, in MiB, in words."""
    return _listed(memory(place))


async def _until_unready(place: Ground, told: list[str]) -> None:
    """The API answers, and says why not; all of them let their files of readiness go."""
    left = [*SERVICES]
    async with _limit(left, "say that they are ready"):
        while (trouble := await _trouble(place)) is None or "log" not in trouble:
            await asyncio.sleep(LOOK_SECONDS)
        told.append(trouble["log"])
        while left:
            left[:] = [service for service in SERVICES if _is_ready(place, service)]
            if await place.emitter.ask("/health/live") is None:
                raise StoodBadly("the API does not live")
            await asyncio.sleep(LOOK_SECONDS)


async def _until_ready(place: Ground) -> None:
    left, events = [*SERVICES], place.observer.events
    async with _limit(left, "are not ready, or the history stands still"):
        while place.observer.events == events or left:
            left[:] = [service for service in SERVICES if not _is_ready(place, service)]
            await asyncio.sleep(LOOK_SECONDS)
        while await _trouble(place) != {}:
            await asyncio.sleep(LOOK_SECONDS)


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
async def _limit(who: list[str], what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            yield
    except TimeoutError:
        raise StoodBadly(f"{', '.join(who)} {what} after {LIMIT_SECONDS:g} s") from None


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{one} {size / MEBIBYTE:.0f}" for one, size in sizes.items())
