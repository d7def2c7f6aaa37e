"""Gathering the evidence of a world, all of it once."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from faults.invariants import kafka_log, machine, postgres_log, read_models, repositories
from faults.invariants.evidence import Acknowledged, Evidence, Leftovers, Log, ReadModels, Repository, Start
from faults.world import World


async def gather(world: World) -> Evidence:
    """Everything that the invariants are judged on."""
    unsettled = await postgres_log.unsettled(world.database_url)
    log, models, outside = await asyncio.gather(
        read_log(world), read_read_models(world), asyncio.to_thread(_outside, world)
    )
    log = replace(log, unsettled=[*log.unsettled, *unsettled])
    targets, mirrors, leftovers, starts = outside
    acknowledged = [Acknowledged(*told) for told in world.acknowledged]
    disturbed = frozenset((*world.killed, *world.stopped))
    kept = await asyncio.to_thread(read_kept, Path(world.artifacts.removeprefix("file://")))
    return Evidence(log, acknowledged, models, targets, mirrors, leftovers, starts, disturbed, kept)


async def read_log(world: World) -> Log:
    """The log, whichever server keeps it."""
    if world.log_url.startswith("kafka://"):
        return await kafka_log.read(world.log_url.removeprefix("kafka://"), world.topic_prefix)
    return await postgres_log.read(world.log_url)


async def read_read_models(world: World) -> ReadModels:
    """The read models, as served and as rebuilt."""
    environment = {
        "AUTOPACK_LOG": world.log_url,
        "AUTOPACK_ARTIFACTS": world.artifacts,
        "AUTOPACK_PARTITIONS": str(world.partitions),
        "AUTOPACK_TOPIC_PREFIX": world.topic_prefix,
    }
    return await read_models.read(world.database_url, Path(world.run_files), environment)


def _outside(world: World) -> tuple[list[Repository], list[Repository], Leftovers, list[Start]]:
    leftovers = machine.read(world)
    targets = [repositories.read(path, world.protected[path]) for path in world.repositories]
    mirrors = [repositories.read(path) for home in world.homes for path in sorted(home.glob("mirrors/*.git"))]
    return targets, mirrors, leftovers, read_starts(world.agent_starts)


def read_kept(artifacts: Path) -> Mapping[str, datetime]:
    """When each answer was kept: its file is made once, and never changed."""
    files = artifacts.glob("named/results/*/*/*")
    return {unquote(file.name): datetime.fromtimestamp(file.stat().st_mtime, UTC) for file in files}


def read_starts(folder: Path) -> Sequence[Start]:
    """One file a start."""
    return [_start(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]


def _start(told: dict) -> Start:
    at = datetime.fromisoformat(told["at"])
    return Start(told["role"], told["run_id"], told["phase_id"], told["attempt"], at, told.get("folder", ""))
