"""Every kind of fault on one log, for long; and crowds of runs."""

import asyncio
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from events.failpoints import PASS, STOP
from faults.crowd import Crowd, crowd, told
from faults.driving import Load, build_while, verdict
from faults.failpoints import deaths_table, points_on
from faults.fleet import SERVICES, Fleet
from faults.ground import Ground, ground
from faults.kills import Killer
from faults.servers import Servers, servers
from faults.standing import come_back, go_on_without, memory_told, stand
from faults.storm import WORKING, storm
from faults.unanswered import cut_all
from faults.zombies import SETTINGS, Zombies, stops_on

LONGEST_PAUSE_SECONDS = 1.5
SETTLING_SECONDS = 600.0
RUNS_AT_ONCE = 4
CROWD_AT_ONCE = 50
LATER = (2, 6)
"""The first and the last pass of a point that may be died at later."""
SELDOM = {"fenced", "snapshot-kept"}
"""Points that are passed once a take-over, or once in thousands of events: at their second pass."""


async def crowds(log: str, given: Namespace, folder: Path) -> list[str]:
    """A crowd of which a few begin at once, and one of which all do; what does not hold of them."""
    found = []
    for name, at_once in (("a few at once", CROWD_AT_ONCE), ("all at once", None)):
        own = folder / name.replace(" ", "-")
        own.mkdir()
        async with servers(log, own) as made:
            asked = Crowd(given.crowd, at_once, given.hours * 3600)
            seen, violations = await crowd(own, made.log_url, made.database_url, "", asked)
        tell(f"{log}: a crowd of {given.crowd} runs, {name}\n{told(seen)}")
        found += [f"crowd, {name}: {one}" for one in violations]
    return found


async def chaos(
    log: str, given: Namespace, folder: Path, points: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """All faults on one log, one kind after another, while builds go on; what does not hold afterwards.

    Services die and stop at each failpoint as often as is given, or at these points once.
    """
    began = time.monotonic()
    async with servers(log, folder) as made:
        points = points or _points("postgres" if log == "postgres" else "kafka", given)
        world = ground(
            folder,
            made.log_url,
            made.database_url,
            failpoints=points,
            settings_of_services=SETTINGS,
            session_seconds=given.session_seconds,
            direct_url=made.direct_url,
        )
        async with world as place:
            load = Load(RUNS_AT_ONCE, given.events)
            await build_while(place, load, _faults(place, given, made), given.hours * 3600)
            tell(f"faults over after {time.monotonic() - began:.0f} s; {len(place.unended())} runs go on")
            await place.until_all_ended(SETTLING_SECONDS)
            await place.until_served(SETTLING_SECONDS)
        seen, kills = place.observer, sum(place.fleet.kills[service] for service in SERVICES)
        tell(f"{log}: {seen.events} events, {len(seen.ended)} runs ended, {kills} kills")
        return await verdict(place)


def _points(kind: str, given: Namespace) -> dict[str, list[str]]:
    """The failpoints to die at, first one pass after another, then at a later one that follows from the seed, and
    those to be stopped at, of each service.
    """
    random = Random(given.seed)
    points = {
        service: names * given.deaths + [_later(name, random) for name in names * given.later]
        for service, names in points_on(kind).items()
    }
    for service, stops in stops_on(kind).items():
        points[service] += stops * given.zombies
    return points


def _later(name: str, random: Random) -> str:
    return f"{name}{PASS}{LATER[0] if name in SELDOM else random.randint(*LATER)}"


async def _faults(place: Ground, given: Namespace, made: Servers) -> None:
    await _die_and_sleep(place, 3 * given.session_seconds)
    tell(f"deaths and stops at failpoints:\n{deaths_table(place.fleet.deaths())}")
    traps = cut_all(made.proxy, place.kind_of_log, given.cuts) if given.cuts else {}
    for name, trap in traps.items():
        await trap.until_sprung()
        tell(f"{name}: committed and not answered, {trap.struck} times")
    kinds = (
        (come_back, made.outages.passing),
        (go_on_without, made.outages.of_one_of_several),
        (stand, made.outages.of_the_log),
    )
    for strike, outages in kinds:
        for name, outage in outages.items():
            tell(await strike(place, name, outage, given.outage_seconds))
    came = await storm(place, WORKING, given.storm_seconds, given.storm_every)
    tell(f"{came} members joined and left; MiB {memory_told(place)}")
    killer = Killer(place, given.seed, LONGEST_PAUSE_SECONDS)
    await killer.kill(given.kills)
    tell(f"kills by seed {given.seed}:\n{killer.table()}")


async def _die_and_sleep(place: Ground, sleep_seconds: float) -> None:
    """Until every failpoint has been died or stopped at, and all who slept are awake and replaced no more."""
    zombies = Zombies(place.fleet, place.world)
    async with asyncio.TaskGroup() as group:
        waking = group.create_task(zombies.replace_and_wake(sleep_seconds))
        while place.fleet.missing() or not _are_all_awake(place.fleet, zombies):
            await place.observer.moved(1.0)
        waking.cancel()


def _are_all_awake(fleet: Fleet, zombies: Zombies) -> bool:
    """A service leaves its mark before it stops: all of them have slept when as many were replaced as left one."""
    stops = sum(count for (_, name), count in fleet.deaths().items() if name.endswith(STOP))
    is_anybody_asleep = zombies.replaced < stops or zombies.replaced_by or fleet.stopped()
    return not is_anybody_asleep and fleet.process_ids().keys() == set(SERVICES)


def tell(text: str) -> None:
    """Say how it goes."""
    print(text, flush=True)
