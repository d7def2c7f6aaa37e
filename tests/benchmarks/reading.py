"""Reading a long history: a rebuild beside a plain consumer, and taking a partition over."""

import asyncio
import tempfile
import time
from pathlib import Path

import orjson

from benchmarks.ground import Ground
from benchmarks.histories import active, projects_over, write
from benchmarks.measures import Figures
from events.catalogue import Topic
from events.log.port import EventLog, Place
from projections.catalogue import PROJECTIONS
from projections.database import install, open_pool
from projections.rebuild import rebuild
from projections.runs import RUNS
from services.artifacts import open_artifacts
from services.status import ServiceStatus
from services.supervisor.alarms import PartitionAlarms
from services.supervisor.judging import Limits
from services.supervisor.partition import PartitionOwner
from services.supervisor.snapshots import Snapshots

ACTIVE_RUNS = 1_000
SNAPSHOTS = "benchmarks"


async def rebuilds(ground: Ground) -> Figures:
    """Events a second of a rebuild, and of a consumer that reads and parses the same topic."""
    began = time.perf_counter()
    events = await _consumed(ground.log)
    consuming = time.perf_counter() - began
    pool = await open_pool(ground.database_url)
    try:
        async with pool.acquire() as connection:
            await install(connection, PROJECTIONS)
        began = time.perf_counter()
        await rebuild(pool, ground.log, RUNS)
        rebuilding = time.perf_counter() - began
    finally:
        await pool.close()
    return {
        ("rebuilt", "events/s"): events / rebuilding,
        ("consumed", "events/s"): events / consuming,
        ("rebuilt_to_consumed", ""): consuming / rebuilding,
    }


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
