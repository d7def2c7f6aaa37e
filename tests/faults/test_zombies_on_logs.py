"""Services that sleep past their session while they hold open work, are replaced, and wake up: all are fenced."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from faults.driving import PHASES, verdict
from faults.fleet import service_of
from faults.ground import Ground, ground
from faults.invariants.evidence import REJECTIONS
from faults.invariants.gathering import read_log
from faults.zombies import LOOK_SECONDS, SETTINGS, TELLING_STOPS, Zombies
from servers.kafka import KafkaBroker

SLEEPING_SECONDS = 150.0
SETTLING_SECONDS = 120.0
RUNS = 4
WORK = {"BuildRequested": "builder", "AuditRequested": "auditor"}
"""Whose claims are in the history before they begin."""

pytestmark = pytest.mark.timeout(SLEEPING_SECONDS + 3 * SETTLING_SECONDS)


@asynccontextmanager
async def _replacing(place: Ground) -> AsyncIterator[Zombies]:
    zombies = Zombies(place.fleet, place.world)
    task = asyncio.create_task(zombies.replace(), name="zombies")
    try:
        yield zombies
    finally:
        task.cancel()


async def _build(place: Ground) -> None:
    for _ in range(RUNS):
        await place.emitter.submit(place.plans.next(PHASES))


async def _until_all_sleep(place: Ground) -> None:
    try:
        async with asyncio.timeout(SLEEPING_SECONDS):
            while place.fleet.missing():
                await place.observer.moved(1.0)
    except TimeoutError:
        pytest.fail(f"never stopped at {place.fleet.missing()}\n{place.fleet.tails()}")


async def _refused_by_the_log(place: Ground) -> Counter[str]:
    """How many submissions of each service the log refused: whoever made them is not told."""
    refused = (await read_log(place.world)).of(REJECTIONS)
    sources = [str(record.event.get("source")).split("/") for record in refused]
    return Counter(parts[2] for parts in sources if parts[:2] == ["", "autopack"])


async def _until_all_are_refused(zombies: Zombies, place: Ground, before: Counter[str]) -> None:
    """By what each says of itself; one that has answered before it heard anything says nothing."""
    try:
        async with asyncio.timeout(SLEEPING_SECONDS):
            while silent := {service_of(name) for name, said in zombies.refusals().items() if not said}:
                if silent <= (await _refused_by_the_log(place) - before).keys():
                    break
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        pytest.fail(f"nobody refused all of {zombies.refusals()}\n{place.fleet.tails()}")
    print("\n".join(f"  {name}: {', '.join(said)}" for name, said in zombies.refusals().items()))


async def _taken_over(place: Ground) -> set[str]:
    """The services of which a claim was replaced by another process's."""
    history = (await read_log(place.world)).history
    requests = {record.id: record.name for record in history}
    replaced = {r.request_id for r in history if r.name == "WorkStarted" and r.data.get("replaces")}
    return {WORK[requests[id_]] for id_ in replaced if id_ is not None and requests[id_] in WORK}


async def _wake_the_dead(folder: Path, log_url: str, database_url: str, prefix: str) -> None:
    """Runs end though one of each service sleeps; then all wake up, and runs end among them as well."""
    given = {"topic_prefix": prefix, "failpoints": TELLING_STOPS, "settings_of_services": SETTINGS}
    world = ground(folder, log_url, database_url, **given)
    async with world as place, _replacing(place) as zombies:
        await _build(place)
        await _until_all_sleep(place)
        await place.until_all_ended(SETTLING_SECONDS)
        await place.until_served(SETTLING_SECONDS)
        stops = [service for service, points in TELLING_STOPS.items() for _ in points]
        assert sorted(map(service_of, place.fleet.stopped())) == sorted(stops)
        assert await _taken_over(place) == set(WORK.values())
        before = await _refused_by_the_log(place)
        zombies.wake_all()
        await _build(place)
        await _until_all_are_refused(zombies, place, before)
        await place.until_all_ended(SETTLING_SECONDS)
        await place.until_served(SETTLING_SECONDS)
        assert place.fleet.stopped() == []
    found = await verdict(place)
    assert found == [], "\n".join(found)


async def test_a_zombie_of_each_service_writes_nothing_more_on_postgres(tmp_path: Path, database_url: str) -> None:
    await _wake_the_dead(tmp_path, database_url, database_url, "")


async def test_a_zombie_of_each_service_writes_nothing_more_on_kafka(
    tmp_path: Path, database_url: str, kafka_broker: KafkaBroker
) -> None:
    prefix = f"zombies-{uuid4().hex[:8]}-"
    await _wake_the_dead(tmp_path, f"kafka://{kafka_broker.bootstrap}", database_url, prefix)
