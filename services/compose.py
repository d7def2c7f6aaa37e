"""The composition root: from settings to running services. Nothing else puts the parts together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum

from events.failpoints import arm
from events.log.port import LogUnavailable
from projections.catalogue import PROJECTIONS
from projections.database import Pool
from projections.freshness import Freshness
from projections.opening import DatabaseUnavailable, lazy_pool, reach
from projections.projector import Projector
from projections.queries.awaiting import Answers
from projections.queries.changes import Changes
from projections.queries.kept_totals import KeptTotals
from services.agents import Agents, CommandDriver, Role, load_agents
from services.api.app import ApiServer
from services.api.context import ApiContext
from services.applier.applier import Applier
from services.artifacts import FileArtifacts, open_artifacts
from services.auditor.auditor import Auditor
from services.awaiting import Awaited
from services.builder.builder import Builder
from services.candidates import Candidates
from services.collection.collector import Collector, Tables
from services.git.command import GitCommand
from services.log_at_hand import LogAtHand
from services.logs import log_name, open_log
from services.preparation import Preparations
from services.readiness import show_readiness
from services.room import MEGABYTE, PatientStore, Room
from services.run_files import run_files
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
from services.watchdog import watched
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
    log: LogAtHand
    servers: Servers
    store: FileArtifacts
    statuses: dict[str, ServiceStatus] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    awaited: list[Awaited] = field(default_factory=list)
    tables: Tables | None = None

    def add(self, service: Service, make: Callable[[ServiceStatus], Run], *needed: Awaited) -> None:
        """Add a service; `make` is given the status that it reports to. It begins when what it needs is open.

        The API begins at once: it is who says what is waited for.
        """
        status = self.statuses[service] = ServiceStatus(service)
        for server in needed:
            server.hinders(status)
        gates = () if service is Service.API else needed
        self.runs[service] = _begun(make(status), gates)

    async def run(self, stop: asyncio.Event) -> None:
        """Run every service until `stop` is set and each has drained. The first that fails ends all.

        Raises, in a group, LogUnfit and DatabaseUnfit too, where it has to wait for servers.
        """
        async with asyncio.TaskGroup() as group:
            for server in self.awaited:
                group.create_task(server.open_patiently(stop), name="waiting")
            for name, run in self.runs.items():
                group.create_task(_running(run, stop), name=name)
            showing = show_readiness(self.settings.home_folder, self.statuses.values(), stop)
            group.create_task(showing, name="readiness")
            collector = Collector(self.settings, GitCommand(), self.store, self.tables)
            group.create_task(collector.run(stop), name="collection")


async def _running(run: Run, stop: asyncio.Event) -> None:
    await run(stop)


def _begun(run: Run, needed: Sequence[Awaited]) -> Run:
    async def run_later(stop: asyncio.Event) -> None:
        for server in needed:
            await server.opened(stop)
        if not stop.is_set():
            await run(stop)

    return run_later


@asynccontextmanager
async def compose(
    settings: Settings, services: frozenset[Service], commands: Commands | None = None, *, patient: bool = False
) -> AsyncIterator[Application]:
    """Open what the services need, and put them together; everything is let go of at the end.

    With `patient` the log and the database need not be there yet: the services wait for them. Otherwise they
    are opened at once, which raises LogUnavailable, DatabaseUnavailable, LogUnfit and DatabaseUnfit.
    Raises SandboxUnavailable, AgentsFileInvalid, ServerDidNotStart.
    """
    if settings.failpoints_folder is not None:
        arm(settings.failpoints, settings.failpoints_folder)
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(open_servers(settings))
        log = LogAtHand(settings.partitions, lambda: open_log(settings, servers))
        stack.push_async_callback(log.close)
        application = Application(settings, log, servers, open_artifacts(settings.artifacts_url))
        the_log = await _awaited(application, Awaited("the log", log.open, (LogUnavailable,)), patient)
        if Service.SUPERVISOR in services:
            _add_supervisor(application, the_log)
        if services & _WORKERS:
            await _add_workers(application, the_log, services, commands or Commands())
        if services & _READING:
            pool = await lazy_pool(servers.database_url, PROJECTIONS, most_connections=READING_CONNECTIONS)
            stack.push_async_callback(_closed, pool)
            application.tables = Tables(application.log, pool)
            tables = Awaited("the database", lambda: reach(pool), (DatabaseUnavailable,))
            _add_readers(application, services, pool, the_log, await _awaited(application, tables, patient))
        yield application


async def _awaited(application: Application, server: Awaited, patient: bool) -> Awaited:
    if patient:
        application.awaited.append(server)
    else:
        await server.open()
    return server


SCRATCH = "scratch"
"""The folder of a home with what is made for one piece of work, and found there when its maker was killed."""
READING_CONNECTIONS = 16
CLOSING_SECONDS = 5.0
_WORKERS = frozenset({Service.BUILDER, Service.AUDITOR, Service.APPLIER, Service.VERIFIER})
_READING = frozenset({Service.PROJECTOR, Service.API})
_SANDBOXED = _WORKERS - {Service.APPLIER}


def _add_supervisor(application: Application, log: Awaited) -> None:
    settings = application.settings
    snapshots = Snapshots(application.store, log_name(settings, application.servers))
    limits = Limits(settings.runs_at_once, settings.repository)
    application.add(
        Service.SUPERVISOR,
        lambda status: watched(application.log, status, Supervisor(application.log, snapshots, limits, status)),
        log,
    )


async def _add_workers(
    application: Application, log: Awaited, services: frozenset[Service], commands: Commands
) -> None:
    settings = application.settings
    candidates = Candidates(GitCommand(), settings.home_folder / "mirrors", PatientStore(application.store))
    if Service.APPLIER in services:
        _add_worker(application, log, Service.APPLIER, Applier(candidates), settings.appliers_at_once)
    if not services & _SANDBOXED:
        return
    sandbox = await _sandbox(settings)
    workshop = _workshop(application, candidates, sandbox, commands)
    if Service.BUILDER in services:
        _add_worker(application, log, Service.BUILDER, Builder(workshop), settings.builders_at_once)
    if Service.AUDITOR in services:
        _add_worker(application, log, Service.AUDITOR, Auditor(workshop), settings.auditors_at_once)
    if Service.VERIFIER in services:
        work = settings.home_folder / "work"
        verifier = Verifier(candidates, sandbox, workshop.store, workshop.preparations, work)
        _add_worker(application, log, Service.VERIFIER, verifier, settings.verifiers_at_once)


async def _closed(pool: Pool) -> None:
    """Every connection ends, by force where the database does not answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSING_SECONDS):
            await pool.close()


def _add_readers(application: Application, services: frozenset[Service], pool: Pool, *needed: Awaited) -> None:
    settings = application.settings
    if Service.PROJECTOR in services:
        files = run_files(settings, pool, application.log, application.store)
        application.add(
            Service.PROJECTOR,
            lambda status: watched(application.log, status, Projector(pool, application.log, status, files)),
            *needed,
        )
    if Service.API in services:
        application.add(Service.API, lambda status: _api(application, pool, status).run, *needed)


def _api(application: Application, pool: Pool, status: ServiceStatus) -> ApiServer:
    settings = application.settings
    changes = Changes(pool)
    context = ApiContext(
        log=application.log,
        pool=pool,
        changes=changes,
        answers=Answers(pool, changes),
        freshness=Freshness(),
        totals=KeptTotals(),
        status=status,
        statuses=application.statuses,
        default_project=settings.project,
        default_repository=settings.repository,
    )
    return ApiServer(context, settings.listen_address)


def _add_worker(application: Application, log: Awaited, service: Service, worker: Worker, capacity: int) -> None:
    settings = application.settings
    limits = RunnerSettings(capacity, settings.grace_seconds, settings.session_timeout_seconds)
    room = Room(settings.folders_written, settings.least_free_megabytes * MEGABYTE)
    store = PatientStore(application.store)

    def run(status: ServiceStatus) -> Run:
        return watched(application.log, status, Runner(application.log, worker, store, limits, status, room))

    application.add(service, run, log)


async def _sandbox(settings: Settings) -> Sandbox:
    environment: Mapping[str, str] = process_environment()
    return await open_sandbox(
        environment,
        hidden_paths=(settings.home_folder, settings.run_files_folder),
        allow_unsandboxed=settings.allow_unsandboxed,
        scratch_folder=settings.home_folder / SCRATCH,
    )


def _workshop(application: Application, candidates: Candidates, sandbox: Sandbox, commands: Commands) -> Workshop:
    settings = application.settings
    return Workshop(
        agents=_agents(settings, commands),
        driver=CommandDriver(sandbox, settings.home_folder / SCRATCH),
        candidates=candidates,
        store=PatientStore(application.store),
        folder=settings.home_folder / "work",
        preparations=Preparations(sandbox, settings.home_folder / "prepared"),
    )


def _agents(settings: Settings, commands: Commands) -> Agents:
    agents = load_agents(settings.agents_file, needed=settings.agents is not None)
    if commands.builder is not None:
        agents = agents.with_command(Role.BUILDER, commands.builder)
    if commands.auditor is not None:
        agents = agents.with_command(Role.AUDITOR, commands.auditor)
    return agents
