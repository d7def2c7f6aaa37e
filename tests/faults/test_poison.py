"""What cannot be read or folded stops its own consumer, there and nowhere else, until that one is upgraded."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from events.catalogue import Topic
from events.log.partitions import home_partition
from faults.builds import tracked
from faults.changed import QUICK, STUMBLES_IN, STUMBLING, UPGRADED
from faults.fleet import SERVICES
from faults.ground import Ground, ground
from faults.invariants import INVARIANTS, judge_log
from faults.invariants.evidence import Evidence, Leftovers, ReadModels
from faults.invariants.gathering import read_log
from faults.invariants.read_models import read_served
from faults.poison import POISON_ID, poison
from servers.kafka import KafkaBroker

WAITING_SECONDS = 90.0
LOOK_SECONDS = 0.1
READERS = ("runs", "tiers", "phases", "attempts", "timeline", "metrics", "answers")
"""The tables that are made of the history."""
WORKERS = ("builder", "auditor", "applier", "verifier")
STOPPED = re.compile(
    r'^autopack_projection_stopped\{partition="(\d)",projection="(\w+)",topic="autopack.events"\} 1.0$',
    re.MULTILINE,
)


async def _until(holds: Callable[[], bool], place: Ground, what: str) -> None:
    try:
        async with asyncio.timeout(WAITING_SECONDS):
            while not holds():
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        pytest.fail(f"{what}\n{place.fleet.tails()}")


async def _readiness(place: Ground, *said: str) -> str:
    """What keeps the service from being ready, once all of it is said."""
    body = ""
    try:
        async with asyncio.timeout(WAITING_SECONDS):
            while not all(one in body for one in said):
                await asyncio.sleep(LOOK_SECONDS)
                body = json.loads(await place.emitter.get("/health/ready") or "{}").get("troubles", {})
                body = "\n".join(body.values())
    except TimeoutError:
        pytest.fail(f"not said: {said}\nbut: {body}\n{place.fleet.tails()}")
    return body


async def _stopped(place: Ground) -> set[tuple[str, str]]:
    """Projection and partition of all that the metrics show as standing still."""
    async with asyncio.timeout(WAITING_SECONDS):
        while "autopack_projection_stopped{" not in (told := await place.emitter.get("/metrics")):
            await asyncio.sleep(0.2)  # the API was in the midst of something else
    return {(name, partition) for partition, name in STOPPED.findall(told)}


def _restart(place: Ground, change: str) -> None:
    """Kill every service, so that it comes back changed, and forget which were ready."""
    place.fleet.change = change
    for service in SERVICES:
        place.fleet.kill(service)
    place.forget_readiness()


async def _one_projection_stumbles(place: Ground) -> None:
    """It stands still at the event, and says so everywhere; its neighbours and the other partition go on."""
    home = home_partition(STUMBLES_IN, place.log.partition_count)
    for _ in range(2):
        await place.emitter.submit(place.plans.next(1))
    await place.until_all_ended(WAITING_SECONDS)
    assert set(place.observer.ended.values()) == {"DONE_SUCCESS"}
    processes = place.fleet.process_ids()
    told = await _readiness(place, f"tiers stands still in autopack.events/{home} at offset ")
    assert re.search(r"at offset \d+: event [0-9a-f-]{36}: RuntimeError: cannot fold this", told)
    assert await _stopped(place) == {("tiers", str(home))}
    status, said = await place.fleet.command("projections", "status")
    assert status == 1
    assert "RuntimeError: cannot fold this" in said
    ready = {*SERVICES} - {"projector", "api"}  # whose answers are not complete any more
    await _until(lambda: place.ready_services() == ready, place, str(place.ready_services()))
    assert "projection stopped" in place.fleet.said("projector")
    assert place.fleet.process_ids() == processes
    _restart(place, QUICK)
    await place.until_served(WAITING_SECONDS)
    assert await _stopped(place) == set()


async def _nobody_can_read_a_record(place: Ground) -> None:
    """All who fold its partition stop there, alive and not ready, and say which record it is."""
    home = home_partition("shop", place.log.partition_count)
    waiting = tracked(0)
    run = (waiting["project"], waiting["run_id"])
    await place.emitter.submit(waiting)
    asked = lambda: [id_ for id_, one in place.observer.open.items() if one.run == run]  # noqa: E731
    await _until(lambda: bool(asked()), place, "nothing is asked of the external builder")
    await _until(lambda: place.ready_services() == {*SERVICES}, place, str(place.ready_services()))
    processes = place.fleet.process_ids()
    where, offset = await poison(place.log, run, asked()[0])
    here = tracked(1)  # on Kafka a supervisor that has nothing to write does not hear that it was fenced
    await place.emitter.submit(here)
    await place.emitter.cancel((here["project"], here["run_id"]))
    named = f"{Topic.EVENTS}, partition {home}, offset {offset}, event {POISON_ID}: "
    still = f"stand still in {where.topic}/{where.partition} at offset {offset}: event {POISON_ID}: unreadable: "
    await _readiness(place, still, "upgrade it", *READERS)
    await _until(lambda: place.ready_services() == set(), place, str(place.ready_services()))
    assert await _stopped(place) == {(name, str(home)) for name in READERS}
    folding = ("supervisor", *WORKERS)
    await _until(lambda: all(named in place.fleet.said(one) for one in folding), place, f"not said: {named}")
    assert all("upgrade it" in place.fleet.said(service) for service in folding)
    elsewhere = [data for data in (place.plans.next(1) for _ in range(2)) if data["project"] != "shop"]
    for data in elsewhere:
        await place.emitter.submit(data)
    ended = lambda: all((d["project"], d["run_id"]) in place.observer.ended for d in elsewhere)  # noqa: E731
    await _until(lambda: bool(elsewhere) and ended(), place, "the other partition stands still as well")
    assert place.fleet.process_ids() == processes
    assert (here["project"], here["run_id"]) not in place.observer.newest


async def _upgraded_they_go_on(place: Ground) -> ReadModels:
    """Returns the tables and files as they were served, and as the upgraded version makes them again."""
    _restart(place, f"{QUICK},{UPGRADED}")
    await place.emitter.cancel(("shop", tracked(0)["run_id"]))
    await place.until_all_ended(WAITING_SECONDS)
    await place.until_served(WAITING_SECONDS)
    await _until(lambda: place.ready_services() == {*SERVICES}, place, str(place.ready_services()))
    assert await _stopped(place) == set()
    before = await read_served(place.world.database_url, place.world.run_files)
    status, said = await place.fleet.command("projections", "rebuild")
    assert status == 0, said
    await place.until_served(WAITING_SECONDS)
    after = await read_served(place.world.database_url, place.world.run_files)
    return replace(before, rebuilt=after.served, rebuilt_files=after.served_files)


async def _assert_consumers_stop_alone(folder: Path, log_url: str, database_url: str, prefix: str) -> None:
    async with ground(folder, log_url, database_url, topic_prefix=prefix, change=f"{QUICK},{STUMBLING}") as place:
        await _one_projection_stumbles(place)
        await _nobody_can_read_a_record(place)
        models = await _upgraded_they_go_on(place)
    log = await read_log(place.world)
    served = INVARIANTS["I4"](Evidence(log, (), models, (), (), Leftovers(), ()))
    found = [*judge_log(log, place.world), *served, *map(str, place.fleet.unexpected), *place.fleet.stuck]
    assert found == [], "\n".join(found)


@pytest.mark.timeout(5 * WAITING_SECONDS)
async def test_poison_stops_its_own_consumers_alone_until_they_are_upgraded_on_postgres(
    tmp_path: Path, database_url: str
) -> None:
    await _assert_consumers_stop_alone(tmp_path, database_url, database_url, "")


@pytest.mark.timeout(5 * WAITING_SECONDS)
async def test_poison_stops_its_own_consumers_alone_until_they_are_upgraded_on_kafka(
    tmp_path: Path, database_url: str, kafka_broker: KafkaBroker
) -> None:
    log_url, prefix = f"kafka://{kafka_broker.bootstrap}", f"poison-{uuid4().hex[:8]}-"
    await _assert_consumers_stop_alone(tmp_path, log_url, database_url, prefix)
