"""`doctor`: what is missing on this machine, and how to get it."""

import asyncio
import re
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import packages_distributions
from pathlib import Path

from events.log.port import LogUnavailable
from services.agents import Agents, AgentsFileInvalid, CommandAgent, load_agents
from services.cli.addresses import shown_address
from services.cli.failures import CommandFailure
from services.cli.reaching import service_at_hand
from services.cli.store import opened_store
from services.logs import log_remark
from services.processes import Command, run
from services.sandbox import probe
from services.settings import Settings, process_environment, unknown_settings

OLDEST_GIT = (2, 38)
LEAST_FREE_BYTES = 1 << 30
LIMIT_SECONDS = 90.0


class Grade(StrEnum):
    """How bad it is: `missing` keeps runs from working."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do about it."""

    name: str
    grade: Grade
    message: str
    remedy: str = ""


Examination = Callable[[Settings], Awaitable[Finding]]


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything; one after another, since they share the machine."""
    return [await _bounded(name, look, settings) for name, look in _EXAMINATIONS.items()]


async def _bounded(name: str, look: Examination, settings: Settings) -> Finding:
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await look(settings)
    except TimeoutError:
        return Finding(name, Grade.MISSING, f"no answer within {LIMIT_SECONDS:g} s")
    except (CommandFailure, LogUnavailable, OSError) as error:
        return Finding(name, Grade.MISSING, str(error))


async def examine_settings(_: Settings) -> Finding:
    """Whether all that is set is heeded."""
    unknown = unknown_settings()
    if not unknown:
        return Finding("settings", Grade.OK, "all that are set are known")
    meant = [f"{name}: set {other}" for name, other in unknown.items() if other is not None]
    remedy = "; ".join(meant) or "remove them, or see docs/operations.md for their names"
    return Finding("settings", Grade.NOTE, f"set, and no settings: {', '.join(unknown)}", remedy)


async def _python(_: Settings) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    others = set(packages_distributions().get("events", ())) - {"autopack"}
    if others:
        remedy = f"pip uninstall {' '.join(sorted(others))}: its module `events` hides ours"
        return Finding("python", Grade.MISSING, f"{version}; also installed: {', '.join(sorted(others))}", remedy)
    return Finding("python", Grade.OK, version)


async def _git(_: Settings) -> Finding:
    remedy = "install git 2.38 or newer with the system's package manager"
    path = shutil.which("git")
    if path is None:
        return Finding("git", Grade.MISSING, "not on the PATH", remedy)
    done = await run(Command((path, "--version"), Path("/"), {}, limit_seconds=10.0))
    said = done.stdout.text.strip()
    numbers = re.search(r"(\d+)\.(\d+)", said)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST_GIT:
        return Finding("git", Grade.MISSING, said or done.reason, remedy)
    return Finding("git", Grade.OK, f"{said} at {path}")


async def _sandbox(settings: Settings) -> Finding:
    tried = await probe(process_environment())
    if tried.sandbox is not None:
        return Finding("sandbox", Grade.OK, tried.sandbox.name)
    remedy = "install bubblewrap and util-linux, and allow user namespaces (or run as root)"
    if settings.allow_unsandboxed:
        return Finding(
            "sandbox", Grade.NOTE, f"{tried.reason}; AUTOPACK_ALLOW_UNSANDBOXED: agents have no walls", remedy
        )
    return Finding("sandbox", Grade.MISSING, tried.reason, remedy)


async def _servers(settings: Settings) -> Finding:
    log = _where(settings.log)
    remedy = "check AUTOPACK_LOG and AUTOPACK_DATABASE" if settings.log or settings.database else ""
    try:
        async with opened_store(settings) as store, store.pool.acquire() as connection:
            await store.log.check()
            version = await connection.fetchval("SHOW server_version")
            remark = log_remark(store.log)
    except CommandFailure as error:
        return Finding("servers", Grade.MISSING, str(error), remedy)
    found = f"log: {log}; read models: {_where(settings.database)}, Postgres {version}"
    if remark is not None:
        return Finding("servers", Grade.NOTE, f"{found}; {remark}", "three brokers, for what must not be lost")
    return Finding("servers", Grade.OK, found)


def _where(url: str | None) -> str:
    return "embedded" if url is None else shown_address(url)


async def examine_agents(settings: Settings) -> Finding:
    """Whether builders and auditors are configured, which of them by default, and can be started."""
    remedy = f"describe them in {settings.agents_file}, or use --builder-command"
    try:
        agents = load_agents(settings.agents_file, needed=settings.agents is not None)
    except AgentsFileInvalid as error:
        return Finding("agents", Grade.MISSING, str(error), "mend the file")
    if not agents.builders:
        return Finding("agents", Grade.NOTE, f"no builder is configured in {settings.agents_file}", remedy)
    lost = _lost_programs(agents)
    if lost:
        return Finding(
            "agents", Grade.MISSING, f"not found: {', '.join(lost)}", "install them, or name their path"
        )
    defaults = f"by default {agents.default_builder or 'no builder'} and {agents.default_auditor or 'no auditor'}"
    counts = f"{len(agents.builders)} builders, {len(agents.auditors)} auditors"
    if None in (agents.default_builder, agents.default_auditor):
        remedy = f"name both under [defaults] in {settings.agents_file}: what lacks one ends a run that needs it"
        return Finding("agents", Grade.NOTE, f"{counts}; {defaults}", remedy)
    return Finding("agents", Grade.OK, f"{counts}; {defaults}")


def _lost_programs(agents: Agents) -> list[str]:
    """A relative path is looked for in each clone, so nothing is known of it here."""
    commands = [a for a in (*agents.builders.values(), *agents.auditors.values()) if isinstance(a, CommandAgent)]
    here = [a for a in commands if "/" not in a.argv[0] or a.argv[0].startswith(("/", "~"))]
    return sorted({f"{a.argv[0]} of {a.name}" for a in here if shutil.which(a.argv[0]) is None})


async def _disk(settings: Settings) -> Finding:
    folder = settings.home_folder
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    message = f"{free / (1 << 30):.1f} GiB free in {settings.home_folder}"
    if free < LEAST_FREE_BYTES:
        return Finding("disk", Grade.MISSING, message, "make room, or set AUTOPACK_HOME elsewhere")
    return Finding("disk", Grade.OK, message)


async def _service(settings: Settings) -> Finding:
    async with service_at_hand(settings) as client:
        if client is None:
            message = "none runs; `autopack run` starts one for itself"
            return Finding("service", Grade.NOTE, message, "autopack up")
        readiness = await client.readiness()
    troubles = "; ".join(f"{name}: {text}" for name, text in readiness.get("troubles", {}).items())
    if troubles:
        return Finding("service", Grade.MISSING, f"at {client.address}, not ready: {troubles}")
    return Finding("service", Grade.OK, f"ready at {client.address}")


_EXAMINATIONS: dict[str, Examination] = {
    "settings": examine_settings,
    "python": _python,
    "git": _git,
    "sandbox": _sandbox,
    "servers": _servers,
    "agents": examine_agents,
    "disk": _disk,
    "service": _service,
}
