"""The workers, put together: builder, auditor, applier and verifier."""

from collections.abc import Mapping

from services.agents import Agents, CommandDriver, Role, load_agents
from services.applier.applier import Applier
from services.auditor.auditor import Auditor
from services.awaiting import Awaited
from services.builder.builder import Builder
from services.candidates import Candidates
from services.compose.application import Application, Commands, Run, Service
from services.git.command import GitCommand
from services.preparation import Preparations
from services.room import MEGABYTE, PatientStore, Room
from services.runner.runner import Runner, RunnerSettings
from services.runner.worker import Worker
from services.sandbox import Sandbox, open_sandbox
from services.settings import Settings, process_environment
from services.status import ServiceStatus
from services.verifier.verifier import Verifier
from services.watchdog import watched
from services.workshop import Workshop

SCRATCH = "scratch"
"""The folder of a home with what is made for one piece of work, and found there when its maker was killed."""
SANDBOXED = frozenset({Service.BUILDER, Service.AUDITOR, Service.VERIFIER})


async def add_workers(
    application: Application, log: Awaited, services: frozenset[Service], commands: Commands
) -> None:
    """Add those workers that are among the services; each begins when the log is open.

    Raises SandboxUnavailable, AgentsFileInvalid.
    """
    settings = application.settings
    candidates = Candidates(GitCommand(), settings.home_folder / "mirrors", PatientStore(application.store))
    if Service.APPLIER in services:
        _add_worker(application, log, Service.APPLIER, Applier(candidates), settings.appliers_at_once)
    if not services & SANDBOXED:
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
