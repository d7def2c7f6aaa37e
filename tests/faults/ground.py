"""A ground for faults: a world with its services, what drives builds through it, and what watches them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from events.log.port import EventLog
from faults.builds import Plans, references, targets
from faults.emitting import Emitter
from faults.fleet import Fleet
from faults.invariants.acknowledged import unread
from faults.invariants.gathering import read_log
from faults.invariants.machine import early
from faults.observer import Observer, Run
from faults.starts import AgentStarts
from faults.template import Template
from faults.world import World
from servers.ports import free_ports
from services.logs import open_log
from services.servers import open_servers
from services.settings import Settings

PARTITIONS = 2
LOOK_SECONDS = 0.2
AGENT = Path(__file__).with_name("agent.py")
AGENTS = """\
[defaults]
builder = "scripted"
auditor = "scripted"
[builder.scripted]
kind = "command"
argv = {argv}
[auditor.scripted]
kind = "command"
argv = {argv}
"""


@dataclass(frozen=True)
class Ground:
    """Everything that a test of faults has at hand."""

    world: World
    fleet: Fleet
    emitter: Emitter
    observer: Observer
    plans: Plans
    temporary: Path
    log: EventLog

    @property
    def kind_of_log(self) -> str:
        """The kind of its log, `postgres` or `kafka`."""
        return "kafka" if self.world.log_url.startswith("kafka://") else "postgres"

    def unended(self) -> set[Run]:
        """The runs that were acknowledged, and that the history does not show as ended."""
        return self.emitter.acknowledged - self.observer.ended.keys()

    async def until_all_ended(self, seconds: float) -> None:
        """Wait until every run that was acknowledged has come to its end. Raises RunsUnended."""
        give_up_at = asyncio.get_running_loop().time() + seconds
        while missing := self.unended():
            if asyncio.get_running_loop().time() > give_up_at:
                newest = {"/".join(run): self.observer.newest.get(run, "not in the history") for run in missing}
                waiting = [f"{request} of {request.run[1]}" for request in self.observer.open.values()]
                raise RunsUnended(f"{newest}\nopen: {waiting}\n{self.fleet.tails()}")
            await self.observer.moved(1.0)

    def ready_services(self) -> set[str]:
        """The services that say, by their files, that they are ready."""
        folder = self.world.homes[0] / "ready"
        return {file.name for file in folder.iterdir()} if folder.exists() else set()

    def forget_readiness(self) -> None:
        """Take the files away with which services that were killed said that they are ready."""
        for name in self.ready_services():
            (self.world.homes[0] / "ready" / name).unlink(missing_ok=True)

    async def until_served(self, seconds: float) -> None:
        """Wait until all that was submitted is decided, tables and files of runs hold all that the log holds, and
        all that is watched has been sent. Raises TimeoutError.
        """
        async with asyncio.timeout(seconds):
            while unread(await read_log(self.world)):
                await asyncio.sleep(LOOK_SECONDS)
            while await self.emitter.lag() != 0:
                await asyncio.sleep(LOOK_SECONDS)
        await self.emitter.watches.until_ended(seconds)


class RunsUnended(Exception):
    """Runs have not ended in the time that they had after the last fault."""


@asynccontextmanager
async def ground(
    folder: Path,
    log_url: str,
    database_url: str,
    *,
    topic_prefix: str = "",
    failpoints: Mapping[str, Sequence[str]] | None = None,
    agent_seconds: float = 0.1,
    session_seconds: float = 2.0,
    change: str = "",
    settings_of_services: Mapping[str, str] | None = None,
    direct_url: str | None = None,
) -> AsyncIterator[Ground]:
    """Make a world, and run all services in it as long as the block lasts. Then they have stopped.

    They are changed in the way that `change` names, if it does (`faults.changed`). Where services reach Postgres
    by a proxy alone, `direct_url` is how everybody else does, so that no trap counts what is not theirs.
    """
    chosen = {"home": folder / "home", "partitions": PARTITIONS, "topic_prefix": topic_prefix}
    settings = Settings(log=log_url, database=database_url, **chosen)
    if direct_url is not None:
        log_url, database_url = direct_url if log_url == database_url else log_url, direct_url
    aimed_at = targets(folder / "repositories")
    async with AsyncExitStack() as stack:
        starts = AgentStarts(folder)
        starts.open()
        stack.callback(starts.close)
        world = World(
            log_url=log_url,
            database_url=database_url,
            homes=(settings.home_folder,),
            run_files=settings.run_files_folder,
            artifacts=settings.artifacts_url,
            repositories=tuple(target.folder for target in aimed_at),
            protected={target.folder: references(target.folder) for target in aimed_at},
            agent_starts=starts.folder,
            marker=f"WORLD_{uuid4().hex}",
            partitions=PARTITIONS,
            topic_prefix=topic_prefix,
        )
        log = await _opened(Settings(log=log_url, database=database_url, **chosen), stack)
        observer = Observer(log)
        group = await stack.enter_async_context(asyncio.TaskGroup())  # what goes wrong with it ends the block
        following = group.create_task(observer.follow(), name="observer")
        stack.callback(following.cancel)
        template = Template()
        stack.push_async_callback(template.close)
        await template.open(folder / "template.log", world.marker)
        settings.home_folder.mkdir()
        (folder / "tmp").mkdir()
        _write_agents(settings.agents_file, starts.pipe, agent_seconds, world.marker)
        listen = f"127.0.0.1:{free_ports(1)[0]}"
        environment = _environment(settings, world.marker, listen, session_seconds)
        fleet = Fleet(template, {**environment, **(settings_of_services or {})}, folder, failpoints or {})
        fleet.change = change
        emitter = Emitter(log, f"http://{listen}", world.acknowledged)
        stack.push_async_callback(emitter.close)
        async with fleet.running():
            yield Ground(world, fleet, emitter, observer, Plans(aimed_at), folder / "tmp", log)
        world.killed.extend(fleet.ends_by_kill())
        world.stopped.extend(fleet.stopped_services())
        world.left.extend(await early(world, template.pid))
        await fleet.clear_leftovers()


async def _opened(settings: Settings, stack: AsyncExitStack) -> EventLog:
    servers = await stack.enter_async_context(open_servers(settings))
    log = await open_log(settings, servers)
    stack.push_async_callback(log.close)
    return log


def _write_agents(file: Path, pipe: Path, seconds: float, marker: str) -> None:
    """Isolated from all that is installed, an agent in Python starts in no time."""
    argv = [str(Path(sys.executable).resolve()), "-I", "-S", str(AGENT), str(pipe), str(seconds), marker]
    file.write_text(AGENTS.format(argv=argv))


def _environment(settings: Settings, marker: str, listen: str, session_seconds: float) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(settings.home_folder.with_name("tmp")),
        "AUTOPACK_HOME": str(settings.home_folder),
        "AUTOPACK_LOG": str(settings.log),
        "AUTOPACK_DATABASE": str(settings.database),
        "AUTOPACK_PARTITIONS": str(settings.partitions),
        "AUTOPACK_TOPIC_PREFIX": settings.topic_prefix,
        "AUTOPACK_LISTEN": listen,
        "AUTOPACK_LOG_LEVEL": "warning",
        "AUTOPACK_GRACE_SECONDS": "5",
        "AUTOPACK_SESSION_TIMEOUT_SECONDS": str(session_seconds),
        marker: "1",
    }
