"""Small real builds for the checker's own tests: services as a process of their own, on a log of their own."""

import asyncio
import json
import os
import select
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx

from events.catalogue import Topic
from events.log.port import EventLog, Place
from faults.invariants import read_models, repositories
from faults.invariants.acknowledged import unread
from faults.invariants.evidence import TERMINAL
from faults.invariants.gathering import read_log
from faults.invariants.served import lagging
from faults.world import World
from services.logs import open_log
from services.servers import open_servers
from services.settings import Settings
from support.builds import repository, request, submitted

TESTS = Path(__file__).parents[2]
MARKER = f"WORLD_OF_CHECKER_{uuid4().hex}"
"""Of this process alone: tests of another copy may run on the same machine."""
READY_SECONDS = 60.0
BUILDING_SECONDS = 180.0
STOPPING_SECONDS = 30.0
# What an agent's sandbox shows of the world cannot be written to, but for a pipe.
AGENT = """
import datetime, json, pathlib, sys
request = json.load(sys.stdin)
phase_id = request["phase"]["phase_id"]
told = {"role": "builder", "run_id": request["run_id"], "phase_id": phase_id, "attempt": request["attempt"]}
told["at"] = datetime.datetime.now(datetime.UTC).isoformat()
with open(sys.argv[1], "w") as pipe:
    pipe.write(json.dumps(told) + "\\n")
pathlib.Path(phase_id + ".txt").write_text("done\\n")
"""


class Ground:
    """A world with its settings, and what drives it."""

    def __init__(self, settings: Settings, folder: Path, log: EventLog) -> None:
        self.settings, self.folder, self.log = settings, folder, log
        home = settings.home_folder
        self.repositories: list[Path] = []
        self.protected: dict[Path, dict[str, str]] = {}
        self.world = World(
            log_url=str(settings.log),
            database_url=str(settings.database),
            homes=[home],
            run_files=home / ".autonomous_runs",
            artifacts=str(home / "artifacts"),
            repositories=self.repositories,
            protected=self.protected,
            agent_starts=folder / "starts",
            marker=MARKER,
            partitions=settings.partitions,
            topic_prefix=settings.topic_prefix,
        )
        self._starts = _pipe(folder)

    def plan(self, project: str, phases: int = 1) -> dict[str, Any]:
        """A run of a repository of its own."""
        repo = repository(self.folder / "repositories" / project)
        self.repositories.append(repo)
        self.protected[repo] = dict(repositories.read(repo).refs)
        return request(repo, phases, project=project, run_id=f"run-of-{project}")

    async def submit(self, kind: str, project: str, data: Mapping[str, Any]) -> None:
        """A command as an emitter submits it, who is told where it lies."""
        record = submitted(kind, data, f"run-of-{project}", project)
        ((place, offset),) = await self.log.submit(Topic.COMMANDS, [record])
        event_id = json.loads(record.value)["id"]
        self.world.acknowledged.append((place.topic.value, place.partition, offset, event_id))

    async def post(self, data: Mapping[str, Any]) -> None:
        """A command over HTTP, which waits for no answer."""
        url = json.loads(self.settings.service_file.read_text())["url"]
        event_id = str(uuid4())
        headers = {"Prefer": "wait=0", "Idempotency-Key": event_id}
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            answer = await client.post("/runs/start", json=data, headers=headers)
        assert answer.status_code == 202, answer.text
        self.world.acknowledged.append((Topic.COMMANDS.value, -1, -1, event_id))

    def keep_starts(self) -> None:
        """Write down the starts that agents have told of, one file each."""
        told = os.read(self._starts, 1 << 20) if _is_filled(self._starts) else b""
        for line in told.splitlines():
            (self.world.agent_starts / f"{uuid4()}.json").write_bytes(line)

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self._starts)


def _pipe(folder: Path) -> int:
    """A pipe that agents may write to, open at this end, so that none of them waits for a reader."""
    (folder / "starts").mkdir()
    pipe = folder / "starts" / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    return os.open(pipe, os.O_RDWR | os.O_NONBLOCK)


def _is_filled(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


@asynccontextmanager
async def grounded(settings: Settings, folder: Path) -> AsyncIterator[Ground]:
    """A ground without services as yet."""
    async with open_servers(settings) as servers:
        log = await open_log(settings, servers)
        ground = Ground(settings, folder, log)
        try:
            yield ground
        finally:
            ground.close()
            await log.close()


@asynccontextmanager
async def services(ground: Ground, *command: str) -> AsyncIterator[None]:
    """All services in one process, ready, as long as the block lasts; then they drain."""
    settings, folder = ground.settings, ground.folder
    agent = folder / "agent.py"
    agent.write_text(AGENT)
    words = json.dumps([sys.executable, str(agent), str(folder / "starts" / "pipe")])
    settings.home_folder.mkdir(parents=True, exist_ok=True)
    settings.agents_file.write_text(
        f'[defaults]\nbuilder = "own"\n[builder.own]\nkind = "command"\nargv = {words}\n'
    )
    with (folder / "services.log").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *command, env=_environment(settings), cwd=folder, stdout=said, stderr=said
        )
    try:
        await _ready(settings, process)
        yield
    finally:
        await _stop(process)
    assert process.returncode == 0, (folder / "services.log").read_text()


def _environment(settings: Settings) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(TESTS),
        "AUTOPACK_HOME": str(settings.home_folder),
        "AUTOPACK_LOG": str(settings.log),
        "AUTOPACK_DATABASE": str(settings.database),
        "AUTOPACK_PARTITIONS": str(settings.partitions),
        "AUTOPACK_TOPIC_PREFIX": settings.topic_prefix,
        "AUTOPACK_LISTEN": "127.0.0.1:0",
        "AUTOPACK_LOG_LEVEL": "warning",
        "AUTOPACK_GRACE_SECONDS": "2",
        MARKER: "1",
    }


async def _ready(settings: Settings, process: Process) -> None:
    names = ("supervisor", "builder", "auditor", "applier", "verifier", "projector", "api")
    async with asyncio.timeout(READY_SECONDS):
        while not all((settings.home_folder / "ready" / name).exists() for name in names):
            assert process.returncode is None, "the services have ended"
            await asyncio.sleep(0.05)


async def _stop(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOPPING_SECONDS):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until_ended(ground: Ground, projects: Iterable[str]) -> None:
    """Wait until the history holds the end of each project's run; a TimeoutError says how they stand."""
    missing, last, tail = set(projects), {}, ground.log.tail()
    for partition in range(ground.log.partition_count):
        tail.follow(Place(Topic.EVENTS, partition), 0)
    give_up_at = monotonic() + BUILDING_SECONDS
    try:
        while missing:
            if monotonic() > give_up_at:
                raise TimeoutError(f"no end: { {project: last.get(project) for project in missing} }")
            for records in (await tail.batches(1.0)).values():
                last |= {str(one.key): (one.type_name or "").split(".")[1] for one in records}
                missing -= {project for project, name in last.items() if name in TERMINAL}
    finally:
        await tail.close()


async def until_served(ground: Ground) -> None:
    """Wait until all that was submitted is decided, and the read models have taken in what the log holds now."""
    world = ground.world
    async with asyncio.timeout(BUILDING_SECONDS):
        while unread(log := await read_log(world)):
            await asyncio.sleep(0.05)
        while lagging(await read_models.served(world.database_url), log):
            await asyncio.sleep(0.05)
