"""Reading a long history: a rebuild beside a plain consumer, and taking a partition over."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from benchmarks.ground import Ground
from benchmarks.histories import active, projects_over, write
from benchmarks.measures import Figures
from events.catalogue import Topic
from events.log.port import EventLog, Place
from projections.catalogue import PROJECTIONS
from projections.database import Pool, install, open_pool
from projections.filling import Helper
from projections.rebuild import rebuild
from projections.runs import RUNS
from services.artifacts import open_artifacts
from services.garbage import spare_what_stays
from services.rebuilding import helpers
from services.servers import Servers
from services.status import ServiceStatus
from services.supervisor.alarms import PartitionAlarms
from services.supervisor.judging import Limits
from services.supervisor.partition import PartitionOwner
from services.supervisor.snapshots import Snapshots

ACTIVE_RUNS = 1_000
SNAPSHOTS = "benchmarks"


async def rebuilds(ground: Ground) -> Figures:
    """Events a second of a rebuild, by one process and with helpers, and of one that only reads and parses."""
    spare_what_stays()
    began = time.perf_counter()
    events = await _consumed(ground.log)
    consuming = time.perf_counter() - began
    pool = await open_pool(ground.database_url)
    try:
        async with pool.acquire() as connection:
            await install(connection, PROJECTIONS)
        alone = await _rebuilding(pool, ground, ())
        rebuilding = await _rebuilding(pool, ground, helpers(ground.settings, _servers_of(ground)))
    finally:
        await pool.close()
    return {
        ("rebuilt", "events/s"): events / rebuilding,
        ("rebuilt_alone", "events/s"): events / alone,
        ("consumed", "events/s"): events / consuming,
        ("rebuilt_to_consumed", ""): consuming / rebuilding,
    }


async def _rebuilding(pool: Pool, ground: Ground, helping: Sequence[Helper]) -> float:
    began = time.perf_counter()
    await rebuild(pool, ground.log, RUNS, helpers=helping)
    return time.perf_counter() - began


def _servers_of(ground: Ground) -> Servers:
    assert ground.settings.log is not None
    return Servers(ground.settings.log, ground.database_url)


async def _consumed(log: EventLog) -> int:
    """Read and parse every record of the history; how many there are."""
    count = 0
    for partition, end in (await log.ends(Topic.EVENTS)).items():
        position = 0
        while position < end and (records := await log.read(Place(Topic.EVENTS, partition), position, end)):
            count += len([orjson.loads(record.value) for record in records])
            position = records[-1].offset + 1
    return count


async def begin_runs(log: EventLog) -> None:
    """Many active runs in the first partition."""
    await write(log, 0, active(projects_over(log.partition_count)[0], ACTIVE_RUNS))


async def takeovers(ground: Ground, folder: Path) -> Figures:
    """How long until a partition with active runs is served by a new owner, without snapshot and with one."""
    snapshots = Snapshots(open_artifacts(tempfile.mkdtemp(dir=folder)), SNAPSHOTS)
    without = await _taken_over(ground.log, snapshots, keep=True)
    return {
        ("without_snapshot", "ms"): without * 1000,
        ("with_snapshot", "ms"): await _taken_over(ground.log, snapshots, keep=False) * 1000,
    }


async def _taken_over(log: EventLog, snapshots: Snapshots, *, keep: bool) -> float:
    owner = PartitionOwner(
        log, 0, "benchmarks", snapshots, Limits(), PartitionAlarms(ServiceStatus("supervisor"), 0)
    )
    served, began = asyncio.Event(), time.perf_counter()
    serving = asyncio.create_task(owner.serve(served.set))
    try:
        await asyncio.wait({serving, asyncio.ensure_future(served.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        spent = time.perf_counter() - began
    finally:
        serving.cancel()
        await asyncio.wait({serving})
    if keep:
        await owner._keep_snapshot()
    return spent
