"""What is measured: one log, its server, and every service in a process of its own."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import psutil

from events.log.port import EventLog
from servers.dying import dying_with_us
from servers.kafka import KafkaBroker
from servers.ports import free_ports
from servers.postgres import PostgresServer
from services.logs import open_log
from services.servers import open_servers
from services.settings import Settings

TESTS = Path(__file__).parents[1]
SERVICES = ("supervisor", "projector", "api")
WORKERS = ("builder", "auditor", "applier", "verifier")
READY_SECONDS = 60.0
SLOWEST_EVENTS_A_SECOND = 500
STOPPING_SECONDS = 30.0


class LogKind(StrEnum):
    """The logs to measure on."""

    POSTGRES = "postgres"
    KAFKA = "kafka"


@dataclass
class Ground:
    """A log with services on it. `log` is the measurer's own access to it."""

    settings: Settings
    log: EventLog
    database_url: str
    processes: dict[str, psutil.Process] = field(default_factory=dict)
    children: list[Process] = field(default_factory=list)
    servers: tuple[psutil.Process, ...] = ()

    def cpu_seconds(self) -> dict[str, float]:
        """The processor time of each service so far, and of the servers together."""
        own = {name: sum(process.cpu_times()[:2]) for name, process in self.processes.items()}
        return own | {"servers": sum(_tree_seconds(server) for server in self.servers)}

    def memory_mib(self) -> dict[str, float]:
        """The resident memory of each service."""
        return {name: process.memory_info().rss / 2**20 for name, process in self.processes.items()}


def _tree_seconds(root: psutil.Process) -> float:
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4] if process == root else process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


@asynccontextmanager
async def servers(kind: LogKind, folder: Path) -> AsyncIterator[Ground]:
    """Start the servers alone, with an empty log."""
    async with AsyncExitStack() as stack:
        server = PostgresServer(folder / "postgres")
        await server.start()
        stack.push_async_callback(server.stop)
        database_url = await stack.enter_async_context(server.fresh_database())
        log_url = database_url
        if kind is LogKind.KAFKA:
            broker = KafkaBroker(folder / "kafka")
            await broker.start()
            stack.push_async_callback(broker.stop)
            log_url = f"kafka://{broker.bootstrap}"
        listen = f"127.0.0.1:{free_ports(1)[0]}"
        settings = Settings(home=folder / "home", log=log_url, database=database_url, listen=listen)
        log = await open_log(settings, await stack.enter_async_context(open_servers(settings)))
        stack.push_async_callback(log.close)
        yield Ground(settings, log, database_url, servers=tuple(_servers(folder)))


@asynccontextmanager
async def services(made: Ground, *, idle: bool = True, events: int = 0) -> AsyncIterator[Ground]:
    """Start all services on it, with idle workers or real ones; everything has ended afterwards.

    They are ready once the tables hold the `events` that are there before.
    """
    try:
        await _start(made, made.settings.home_folder.parent, idle=idle)
        await _ready(made, READY_SECONDS + events / SLOWEST_EVENTS_A_SECOND)
        yield made
    finally:
        await _stop(made.children)


def _servers(folder: Path) -> Iterator[psutil.Process]:
    """The postmaster and the broker that keep their files in this folder."""
    for process in psutil.process_iter(["cmdline"]):
        said = process.info["cmdline"] or [""]
        if Path(said[0]).name in ("postgres", "java") and any(str(folder) in word for word in said):
            yield process


def _environment(settings: Settings) -> Mapping[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AUTOPACK_")},
        "AUTOPACK_HOME": str(settings.home),
        "AUTOPACK_LOG": str(settings.log),
        "AUTOPACK_DATABASE": str(settings.database),
        "AUTOPACK_LISTEN": settings.listen,
        "AUTOPACK_LOG_LEVEL": "warning",
        "PYTHONPATH": str(TESTS),
    }


def _commands(*, idle: bool) -> Mapping[str, Sequence[str]]:
    autopack = str(Path(sys.executable).with_name("autopack"))
    real = {name: (autopack, "serve", name) for name in (*SERVICES, *WORKERS)}
    return real | ({name: (sys.executable, "-m", "benchmarks.idle", name) for name in WORKERS} if idle else {})


async def _start(made: Ground, folder: Path, *, idle: bool) -> None:
    commands = _commands(idle=idle)
    environment = _environment(made.settings)
    for name, command in commands.items():
        started = await launch(command, environment, folder, f"{name}.log")
        made.children.append(started)
        made.processes[name] = psutil.Process(started.pid)


async def launch(command: Sequence[str], environment: Mapping[str, str], folder: Path, said: str) -> Process:
    """Start a service in a folder, where what it says goes to a file. It ends with us, even if we are killed."""
    with (folder / said).open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *dying_with_us(),
            *command,
            env=environment,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


async def _ready(made: Ground, limit_seconds: float) -> None:
    give_up_at = time.monotonic() + limit_seconds
    waited_for = {name: made.settings.home_folder / "ready" / name for name in made.processes}
    while missing := [name for name, file in waited_for.items() if not file.exists()]:
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not ready: {', '.join(missing)}")
        await asyncio.sleep(0.1)


async def _stop(children: Iterable[Process]) -> None:
    """Every service drains; what does not is killed."""
    alive = [child for child in children if child.returncode is None]
    for child in alive:
        child.terminate()
    try:
        async with asyncio.timeout(STOPPING_SECONDS):
            await asyncio.gather(*(child.wait() for child in alive))
    finally:
        for child in alive:
            if child.returncode is None:
                child.kill()
                await child.wait()
