"""`make chaos`: builds go on while services die at every failpoint and at random, and servers are away.

Of the logs, `kafka` is one broker, `cluster` three of which one at a time is killed.
"""

import asyncio
import shutil
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from faults.driving import Load, build_while, verdict
from faults.failpoints import deaths_table, points_on
from faults.ground import Ground, ground
from faults.kills import Killer
from faults.outages import Outage, outages_of_cluster, outages_of_kafka, outages_of_postgres
from faults.standing import memory_told, stand
from faults.storm import WORKING, storm
from faults.unanswered import cut_all
from faults.zombies import Zombies, stops_on
from servers.kafka import KafkaBroker
from servers.kafka_cluster import KafkaCluster
from servers.postgres import PostgresServer
from servers.postgres_proxy import PostgresProxy, postgres_proxy

LOGS = ("postgres", "kafka", "cluster")
LONGEST_PAUSE_SECONDS = 1.5
SETTLING_SECONDS = 600.0
RUNS_AT_ONCE = 4


@dataclass(frozen=True)
class Outages:
    """Those that some services can do without or hear of late, and those that make all of them say so."""

    of_some: dict[str, Outage]
    of_all: dict[str, Outage]

    def with_broker(self, broker: KafkaBroker | KafkaCluster) -> "Outages":
        """Those of the log as well: without the one broker there is nobody can go on, without one of three all."""
        if isinstance(broker, KafkaCluster):
            return Outages(self.of_some | dict(outages_of_cluster(broker)), self.of_all)
        return Outages(self.of_some, self.of_all | dict(outages_of_kafka(broker)))


async def _chaos(log: str, given: Namespace, folder: Path) -> list[str]:
    """All faults on one log, one kind after another; what does not hold afterwards."""
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        server = PostgresServer(folder / "postgres")
        await server.start()
        stack.push_async_callback(server.stop)
        direct_url = await stack.enter_async_context(server.fresh_database())
        proxy = await stack.enter_async_context(postgres_proxy(direct_url))
        database_url = log_url = proxy.through(direct_url)
        outages = Outages(dict(outages_of_postgres(folder / "postgres")), {})
        if log != "postgres":
            broker = KafkaBroker(folder / "kafka") if log == "kafka" else KafkaCluster(folder / "kafka")
            stack.push_async_callback(broker.stop)
            await broker.start()
            log_url = f"kafka://{broker.bootstrap}"
            outages = outages.with_broker(broker)
        kind = "postgres" if log == "postgres" else "kafka"
        points = {service: names * given.deaths for service, names in points_on(kind).items()}
        for service, stops in stops_on(kind).items():
            points[service] += stops * given.zombies
        world = ground(folder, log_url, database_url, failpoints=points, session_seconds=given.session_seconds)
        async with world as place:
            load = Load(RUNS_AT_ONCE, given.events)
            await build_while(place, load, _faults(place, given, outages, proxy), given.hours * 3600)
            _tell(f"faults over after {time.monotonic() - began:.0f} s; {len(place.unended())} runs go on")
            await place.until_all_ended(SETTLING_SECONDS)
            await place.until_served(SETTLING_SECONDS)
        seen, kills = place.observer, sum(place.fleet.kills.values())
        _tell(f"{log}: {seen.events} events, {len(seen.ended)} runs ended, {kills} kills")
        return await verdict(place)


async def _faults(place: Ground, given: Namespace, outages: Outages, proxy: PostgresProxy) -> None:
    zombies = asyncio.create_task(Zombies(place.fleet).replace_and_wake(3 * given.session_seconds))
    while place.fleet.missing() or place.fleet.stopped():
        await place.observer.moved(1.0)
    zombies.cancel()
    _tell(f"deaths and stops at failpoints:\n{deaths_table(place.fleet.deaths())}")
    for name, trap in cut_all(proxy, place.log, given.cuts).items():
        await trap.sprung.wait()
        _tell(f"{name}: committed and not answered, {trap.struck} times")
    for name, outage in outages.of_some.items():
        await outage(lambda: asyncio.sleep(given.outage_seconds))
        before, began = place.observer.events, time.monotonic()
        while place.observer.events == before:
            await place.observer.moved(1.0)
        _tell(f"{name}: the history moved {time.monotonic() - began:.1f} s later; MiB {memory_told(place)}")
    for name, outage in outages.of_all.items():
        _tell(await stand(place, name, outage, given.outage_seconds))
    came = await storm(place.fleet, WORKING, given.storm_seconds, given.storm_every)
    _tell(f"{came} members joined and left; MiB {memory_told(place)}")
    killer = Killer(place, given.seed, LONGEST_PAUSE_SECONDS)
    await killer.kill(given.kills)
    _tell(f"kills by seed {given.seed}:\n{killer.table()}")


def _tell(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Chaos on the logs that are asked for, and the verdict."""
    parser = ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--log", choices=LOGS, action="append", help="this log alone")
    parser.add_argument("--kills", type=int, default=1000, help="SIGKILLs at random moments")
    parser.add_argument("--events", type=int, default=100_000, help="events that no build makes")
    parser.add_argument("--deaths", type=int, default=2, help="deaths at each failpoint, one behind another")
    parser.add_argument("--zombies", type=int, default=1, help="stops at each failpoint: replaced, then continued")
    parser.add_argument("--cuts", type=int, default=20, help="commits of each kind that are not answered")
    parser.add_argument("--outage-seconds", type=float, default=60.0, help="how long servers are away")
    parser.add_argument("--storm-seconds", type=float, default=60.0, help="how long members join and leave")
    parser.add_argument("--storm-every", type=float, default=2.0, help="seconds from one to the next in a group")
    parser.add_argument("--session-seconds", type=float, default=3.0, help="silence that says a service is dead")
    parser.add_argument("--hours", type=float, default=4.0, help="the longest that the faults of a log may take")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    given = parser.parse_args()
    found = []
    for log in given.log or LOGS:
        folder = Path(tempfile.mkdtemp(prefix=f"autopack-chaos-{log}-"))
        _tell(f"chaos on {log}, seed {given.seed}, in {folder}, which stays where something does not hold")
        violations = asyncio.run(_chaos(log, given, folder))
        found += [f"{log}: {one}" for one in violations]
        if not violations:
            shutil.rmtree(folder)
    _tell("\n".join(found) or "every invariant holds")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
