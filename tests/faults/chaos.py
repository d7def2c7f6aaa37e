"""Every kind of fault on one log, for long; and crowds of runs."""

import asyncio
import time
from argparse import Namespace
from pathlib import Path

from faults.crowd import Crowd, crowd, told
from faults.driving import Load, build_while, verdict
from faults.failpoints import deaths_table, points_on
from faults.ground import Ground, ground
from faults.kills import Killer
from faults.servers import Servers, servers
from faults.standing import memory_told, stand
from faults.storm import WORKING, storm
from faults.unanswered import cut_all
from faults.zombies import Zombies, stops_on

LONGEST_PAUSE_SECONDS = 1.5
SETTLING_SECONDS = 600.0
RUNS_AT_ONCE = 4
CROWD_AT_ONCE = 50


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


async def chaos(log: str, given: Namespace, folder: Path) -> list[str]:
    """All faults on one log, one kind after another, while builds go on; what does not hold afterwards."""
    began = time.monotonic()
    async with servers(log, folder) as made:
        points = _points("postgres" if log == "postgres" else "kafka", given)
        world = ground(
            folder, made.log_url, made.database_url, failpoints=points, session_seconds=given.session_seconds
        )
        async with world as place:
            load = Load(RUNS_AT_ONCE, given.events)
            await build_while(place, load, _faults(place, given, made), given.hours * 3600)
            tell(f"faults over after {time.monotonic() - began:.0f} s; {len(place.unended())} runs go on")
            await place.until_all_ended(SETTLING_SECONDS)
            await place.until_served(SETTLING_SECONDS)
        seen, kills = place.observer, sum(place.fleet.kills.values())
        tell(f"{log}: {seen.events} events, {len(seen.ended)} runs ended, {kills} kills")
        return await verdict(place)


def _points(kind: str, given: Namespace) -> dict[str, list[str]]:
    """The failpoints to die at, and then those to be stopped at, of each service."""
    points = {service: names * given.deaths for service, names in points_on(kind).items()}
    for service, stops in stops_on(kind).items():
        points[service] += stops * given.zombies
    return points


async def _faults(place: Ground, given: Namespace, made: Servers) -> None:
    zombies = asyncio.create_task(Zombies(place.fleet).replace_and_wake(3 * given.session_seconds))
    while place.fleet.missing() or place.fleet.stopped():
        await place.observer.moved(1.0)
    zombies.cancel()
    tell(f"deaths and stops at failpoints:\n{deaths_table(place.fleet.deaths())}")
    traps = cut_all(made.proxy, place.kind_of_log, given.cuts) if given.cuts else {}
    for name, trap in traps.items():
        await trap.sprung.wait()
        tell(f"{name}: committed and not answered, {trap.struck} times")
    for name, outage in made.outages.of_some.items():
        await outage(lambda: asyncio.sleep(given.outage_seconds))
        before, began = place.observer.events, time.monotonic()
        while place.observer.events == before:
            await place.observer.moved(1.0)
        tell(f"{name}: the history moved {time.monotonic() - began:.1f} s later; MiB {memory_told(place)}")
    for name, outage in made.outages.of_all.items():
        tell(await stand(place, name, outage, given.outage_seconds))
    came = await storm(place.fleet, WORKING, given.storm_seconds, given.storm_every)
    tell(f"{came} members joined and left; MiB {memory_told(place)}")
    killer = Killer(place, given.seed, LONGEST_PAUSE_SECONDS)
    await killer.kill(given.kills)
    tell(f"kills by seed {given.seed}:\n{killer.table()}")


def tell(text: str) -> None:
    """Say how it goes."""
    print(text, flush=True)
