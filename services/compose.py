"""The composition root: from settings to running services. Nothing else puts the parts together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum

from events.log.port import EventLog
from projections.catalogue import PROJECTIONS
from projections.database import Pool, install, open_pool
from projections.projector import Projector
from projections.queries.answers import Changes
from projections.run_files.keeper import RunFiles
from services.agents import Agents, CommandDriver, Role, load_agents
from services.api.app import ApiServer
from services.api.context import ApiContext
from services.applier.applier import Applier
from services.artifacts import ArtifactStore, open_artifacts
from services.auditor.auditor import Auditor
from services.builder.builder import Builder
from services.candidates import Candidates
from services.git.command import GitCommand
from services.logs import log_name, open_log
from services.preparation import Preparations
from services.readiness import show_readiness
from services.runner.runner import Runner, RunnerSettings
from services.runner.worker import Worker
from services.sandbox import Sandbox, open_sandbox
from services.servers import Servers, open_servers
from services.settings import Settings, process_environment
from services.status import ServiceStatus
from services.supervisor.judging import Limits
from services.supervisor.snapshots import Snapshots
from services.supervisor.supervisor import Supervisor
from services.verifier.verifier import Verifier
from services.workshop import Workshop


class Service(StrEnum):
    """The services, by the names that operators use."""

    SUPERVISOR = "supervisor"
    BUILDER = "builder"
    AUDITOR = "auditor"
    APPLIER = "applier"
    VERIFIER = "verifier"
    PROJECTOR = "projector"
    API = "api"


@dataclass(frozen=True, slots=True)
class Commands:
    """Agents given on the command line, for an embedded service only; they stand in no event."""

    builder: tuple[str, ...] | None = None
    auditor: tuple[str, ...] | None = None


Run = Callable[[asyncio.Event], Awaitable[None]]


@dataclass(slots=True)
class Application:
    """Services of one process, ready to run."""

    settings: Settings
    log: EventLog
    servers: Servers
    store: ArtifactStore
    statuses: dict[str, ServiceStatus] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)

    def add(self, service: Service, make: Callable[[ServiceStatus], Run]) -> None:
        """Add a service; `make` is given the status that it reports to."""
        status = ServiceStatus(service)
        self.statuses[service] = status
        self.runs[service] = make(status)

    async def run(self, stop: asyncio.Event) -> None:
        """Run every service until `stop` is set and each has drained. The first that fails ends all."""
        async with asyncio.TaskGroup() as group:
            for name, run in self.runs.items():
                group.create_task(_running(run, stop), name=name)
            showing = show_readiness(self.settings.home_folder, self.statuses.values(), stop)
            group.create_task(showing, name="readiness")


async def _running(run: Run, stop: asyncio.Event) -> None:
    await run(stop)


@asynccontextmanager
async def compose(
    settings: Settings, services: frozenset[Service], commands: Commands | None = None
) -> AsyncIterator[Application]:
    """Open what the services need, and put them together; everything is let go of at the end.

    Raises SandboxUnavailable, AgentsFileInvalid, LogUnavailable, ServerDidNotStart.
    """
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(open_servers(settings))
        log = await open_log(settings, servers)
        stack.push_async_callback(log.close)
        application = Application(settings, log, servers, open_artifacts(settings.artifacts_url))
        if Service.SUPERVISOR in services:
            _add_supervisor(application)
        if services & _WORKERS:
            await _add_workers(application, services, commands or Commands())
        if services & _READING:
            pool = await _opened_pool(servers.database_url)
            stack.push_async_callback(_closed, pool)
            _add_readers(application, services, pool)
        yield application


READING_CONNECTIONS = 16
CLOSING_SECONDS = 5.0
_WORKERS = frozenset({Service.BUILDER, Service.AUDITOR, Service.APPLIER, Service.VERIFIER})
_READING = frozenset({Service.PROJECTOR, Service.API})
_SANDBOXED = _WORKERS - {Service.APPLIER}


def _add_supervisor(application: Application) -> None:
    settings = application.settings
    snapshots = Snapshots(application.store, log_name(settings, application.servers))
    limits = Limits(settings.runs_at_once)
    application.add(
        Service.SUPERVISOR,
        lambda status: Supervisor(application.log, snapshots, limits, status).run,
    )


async def _add_workers(application: Application, services: frozenset[Service], commands: Commands) -> None:
    settings = application.settings
    candidates = Candidates(GitCommand(), settings.home_folder / "mirrors", application.store)
    if Service.APPLIER in services:
        _add_worker(application, Service.APPLIER, Applier(candidates), settings.appliers_at_once)
    if not services & _SANDBOXED:
        return
    sandbox = await _sandbox(settings)
    workshop = _workshop(application, candidates, sandbox, commands)
    if Service.BUILDER in services:
        _add_worker(application, Service.BUILDER, Builder(workshop), settings.builders_at_once)
    if Service.AUDITOR in services:
        _add_worker(application, Service.AUDITOR, Auditor(workshop), settings.auditors_at_once)
    if Service.VERIFIER in services:
        work = settings.home_folder / "work"
        verifier = Verifier(candidates, sandbox, application.store, workshop.preparations, work)
        _add_worker(application, Service.VERIFIER, verifier, settings.verifiers_at_once)


async def _opened_pool(database_url: str) -> Pool:
    """Connections to the read models, whose tables are there from now on: queries need not wait for events."""
    pool = await open_pool(database_url, most_connections=READING_CONNECTIONS)
    try:
        async with pool.acquire() as connection:
            await install(connection, PROJECTIONS)
    except BaseException:
        await _closed(pool)
        raise
    return pool


async def _closed(pool: Pool) -> None:
    """Every connection ends, by force where the database does not answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSING_SECONDS):
            await pool.close()


def _add_readers(application: Application, services: frozenset[Service], pool: Pool) -> None:
    settings = application.settings
    if Service.PROJECTOR in services:
        files = RunFiles(pool, application.log, application.store, settings.run_files_folder, settings.project)
        application.add(Service.PROJECTOR, lambda status: Projector(pool, application.log, status, files).run)
    if Service.API in services:
        context = ApiContext(
            log=application.log,
            pool=pool,
            changes=Changes(pool),
            statuses=application.statuses,
            default_project=settings.project,
            default_repository=settings.repository,
        )
        address = settings.listen_address
        application.add(Service.API, lambda status: ApiServer(context, address, status).run)


def _add_worker(application: Application, service: Service, worker: Worker, capacity: int) -> None:
    limits = RunnerSettings(capacity, application.settings.grace_seconds)
    application.add(
        service,
        lambda status: Runner(application.log, worker, application.store, limits, status).run,
    )


async def _sandbox(settings: Settings) -> Sandbox:
    environment: Mapping[str, str] = process_environment()
    return await open_sandbox(
        environment,
        hidden_paths=(settings.home_folder, settings.run_files_folder),
        allow_unsandboxed=settings.allow_unsandboxed,
    )


def _workshop(application: Application, candidates: Candidates, sandbox: Sandbox, commands: Commands) -> Workshop:
    settings = application.settings
    return Workshop(
        agents=_agents(settings, commands),
        driver=CommandDriver(sandbox, settings.home_folder / "scratch"),
        candidates=candidates,
        store=application.store,
        folder=settings.home_folder / "work",
        preparations=Preparations(sandbox, settings.home_folder / "prepared"),
    )


def _agents(settings: Settings, commands: Commands) -> Agents:
    agents = load_agents(settings.agents_file)
    if commands.builder is not None:
        agents = agents.with_command(Role.BUILDER, commands.builder)
    if commands.auditor is not None:
        agents = agents.with_command(Role.AUDITOR, commands.auditor)
    return agents
