"""The sandbox of this machine, tried before it is trusted."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.processes import Command, Ending, run
from services.sandbox.contained import Bubblewrap
from services.sandbox.job import Job, Sandbox, SandboxUnavailable
from services.sandbox.locate import find_bubblewrap
from services.sandbox.ownership import user_for_sandbox
from services.sandbox.specification import DEFAULT_LIMITS, Limits, Tools
from services.sandbox.system import system_layout
from services.sandbox.uncontained import Uncontained
from services.sandbox.work_folders import work_folder

PROBE_SECONDS = 20.0
SYSTEM_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a sandbox really works here: which one, or why not."""

    sandbox: Bubblewrap | None
    reason: str = ""

    @property
    def works(self) -> bool:
        """Say whether a command ran in the sandbox."""
        return self.sandbox is not None


async def probe(
    environment: Mapping[str, str],
    hidden_paths: tuple[Path, ...] = (),
    limits: Limits = DEFAULT_LIMITS,
    scratch_folder: Path | None = None,
) -> Probe:
    """Run a command in a sandbox here, as agents and checks will be, and say how it went.

    The folder that it works in lies in `scratch_folder`, where what a killed service leaves is looked for; left
    out, among the system's temporary files.
    """
    tools = await asyncio.to_thread(_tools)
    if isinstance(tools, str):
        return Probe(None, tools)
    name = await _version(tools.bubblewrap)
    system = await asyncio.to_thread(system_layout)
    sandbox = Bubblewrap(name, tools, system, environment, hidden_paths, limits.within_ours())
    name_of_folder = f"autopack-probe-{secrets.token_hex(8)}"
    async with work_folder((scratch_folder or Path(tempfile.gettempdir())) / name_of_folder, 0o700) as folder:
        try:
            done = await sandbox.run(Job(("true",), folder, limit_seconds=PROBE_SECONDS))
        except SandboxUnavailable as error:
            return Probe(None, error.reason)
    if done.succeeded:
        return Probe(sandbox)
    return Probe(None, f"{name} {done.reason}: {done.stderr.last_text(500)}")


async def open_sandbox(
    environment: Mapping[str, str],
    *,
    hidden_paths: tuple[Path, ...] = (),
    limits: Limits = DEFAULT_LIMITS,
    allow_unsandboxed: bool = False,
    scratch_folder: Path | None = None,
) -> Sandbox:
    """Give the sandbox for agents and checks; raises SandboxUnavailable where none works.

    Where an operator allows it, such a machine gets one that protects nothing.
    """
    tried = await probe(environment, hidden_paths, limits, scratch_folder)
    if tried.sandbox is not None:
        return tried.sandbox
    if allow_unsandboxed:
        return Uncontained(environment)
    raise SandboxUnavailable(tried.reason)


def _tools() -> Tools | str:
    """Find the programs that a sandbox is made with, or say which is missing."""
    bubblewrap = find_bubblewrap()
    if bubblewrap is None:
        return "bubblewrap is not installed"
    prlimit = shutil.which("prlimit", path=SYSTEM_PATH)
    setpriv = shutil.which("setpriv", path=SYSTEM_PATH)
    if prlimit is None:
        return "prlimit of util-linux is not installed"
    if setpriv is None and user_for_sandbox() is not None:
        return "setpriv of util-linux is not installed, which root needs"
    return Tools(bubblewrap, Path(prlimit), Path(setpriv) if setpriv else None)


async def _version(bubblewrap: Path) -> str:
    command = Command((str(bubblewrap), "--version"), Path("/"), {}, limit_seconds=PROBE_SECONDS)
    done = await run(command)
    return done.stdout.text.strip() if done.ending is Ending.EXITED and done.succeeded else "bubblewrap"
