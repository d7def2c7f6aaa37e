"""The trusted way to call git: an exact environment, our configuration, limits, no prompt.

The environment is built from nothing (`env -i`), because GitPython hands a copy of the whole
process environment to its children, and ours holds addresses and secrets.
"""

import asyncio
import errno
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from services.git.child import ENDING_SECONDS, Child, GitOutput, Order, last_lines
from services.git.failures import GitFailed, GitMissing
from services.processes.finishing import in_any_case

TRUSTED_CONFIGURATION = Path(__file__).with_name("trusted.gitconfig")

# Given on the command line: these must also beat the configuration of the repository at hand.
OVERRIDES = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.filesRefLockTimeout=10000",
    "core.packedRefsTimeout=10000",
    "core.safecrlf=false",
    "diff.ignoreSubmodules=all",
    "submodule.recurse=false",
    # Small packs would be unpacked object by object, commits first: whoever looks meanwhile, or after a kill,
    # finds a commit without its files. A pack is there whole or not at all.
    "transfer.unpackLimit=1",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.ext.allow=never",
)

# At the end of a line, for a path may hold such words. The last is git's own, of an index and of packs.
_NO_ROOM = {
    **{f": {os.strerror(code)}".encode(): code for code in (errno.ENOSPC, errno.EDQUOT)},
    b" write error. Out of diskspace": errno.ENOSPC,
}
_NO_ROOM_SAID = re.compile(rb"(%s) *$" % b"|".join(map(re.escape, _NO_ROOM)), re.MULTILINE)


@dataclass(frozen=True, slots=True)
class GitSettings:
    """How git is called on this machine.

    `credentials` is a git configuration file (mode 0600) for private repositories; secrets never
    stand in an argument or in the environment, where other processes could read them.
    """

    executable: str = "git"
    search_path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    home: str = "/nonexistent"
    protocols: tuple[str, ...] = ("file", "ssh", "https")
    extra_environment: tuple[tuple[str, str], ...] = ()
    credentials: Path | None = None
    limit_seconds: float = 120.0
    fetch_limit_seconds: float = 900.0
    output_limit_bytes: int = 256 * 1024 * 1024
    processes_at_once: int = 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where a git process works: each part that is None is left to git's own default.

    With `quarantine` new objects are written there, and the repository's own are only read.
    """

    git_dir: Path | None = None
    work_tree: Path | None = None
    index: Path | None = None
    quarantine: Path | None = None

    def environment(self) -> dict[str, str]:
        """The variables that git takes this place from."""
        found: dict[str, str] = {}
        if self.index is not None:
            found["GIT_INDEX_FILE"] = str(self.index)
        if self.quarantine is not None and self.git_dir is not None:
            found["GIT_OBJECT_DIRECTORY"] = str(self.quarantine)
            found["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = _quoted(self.git_dir / "objects")
        return found

    def options(self) -> list[str]:
        """The options of git itself that say where it works."""
        found = [] if self.git_dir is None else [f"--git-dir={self.git_dir}"]
        return found if self.work_tree is None else [*found, f"--work-tree={self.work_tree}"]


class GitCommand:
    """Runs git processes; one for a service. `started` counts them."""

    def __init__(self, settings: GitSettings | None = None) -> None:
        self.settings = settings or GitSettings()
        self.started = 0
        self._threads = ThreadPoolExecutor(self.settings.processes_at_once, thread_name_prefix="git")

    async def run(
        self,
        place: Place,
        *arguments: str,
        stdin: bytes = b"",
        accept: Sequence[int] = (0,),
        durable: bool = True,
        environment: Mapping[str, str] | None = None,
        limit_seconds: float | None = None,
        kept_descriptors: tuple[int, ...] = (),
    ) -> GitOutput:
        """Run `git ARGUMENTS` at `place`.

        `durable=False` is for what is thrown away or made again: it is not synced to the disk.
        Raises `failure_of` it when the exit code is not in `accept`, GitTimedOut, GitOutputTooLarge, GitMissing.
        """
        order = Order(
            argv=self._argv(place, arguments, durable, environment or {}),
            folder=str(place.work_tree or "/"),
            stdin=stdin,
            limit_seconds=limit_seconds or self.settings.limit_seconds,
            output_limit_bytes=self.settings.output_limit_bytes,
            kept_descriptors=kept_descriptors,
        )
        output = await self._perform(order)
        if output.exit_code == 127:  # `env` found no such program
            raise GitMissing(self.settings.executable)
        if output.exit_code not in accept:
            raise failure_of(arguments, output)
        return output

    async def _perform(self, order: Order) -> GitOutput:
        self.started += 1
        child = Child()
        running = asyncio.get_running_loop().run_in_executor(self._threads, child.perform, order)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await in_any_case(_end(child, running))
            raise

    def _argv(
        self, place: Place, arguments: Sequence[str], durable: bool, environment: Mapping[str, str]
    ) -> tuple[str, ...]:
        variables = {**self._base_environment(), **place.environment(), **environment}
        overrides = [*OVERRIDES, f"core.fsync={'all' if durable else 'none'}"]
        if self.settings.credentials is not None:
            overrides.append(f"include.path={self.settings.credentials}")
        return (
            "/usr/bin/env",
            "-i",
            *(f"{name}={value}" for name, value in variables.items()),
            self.settings.executable,
            *(word for override in overrides for word in ("-c", override)),
            *place.options(),
            *arguments,
        )

    def _base_environment(self) -> dict[str, str]:
        return {
            "PATH": self.settings.search_path,
            "HOME": self.settings.home,
            "LC_ALL": "C",
            "TZ": "UTC",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(TRUSTED_CONFIGURATION),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
            "GIT_ALLOW_PROTOCOL": ":".join(self.settings.protocols),
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_PAGER": "cat",
            "GIT_COMMITTER_NAME": "Autopack",
            "GIT_COMMITTER_EMAIL": "autopack@localhost",
            **dict(self.settings.extra_environment),
        }


def failure_of(arguments: Sequence[str], output: GitOutput) -> GitFailed | OSError:
    """What to raise for a process that failed; OSError where a disk is full, which is no repository's fault."""
    said = _NO_ROOM_SAID.search(output.stderr)
    if said is not None:
        return OSError(_NO_ROOM[said[1]], f"git {arguments[0]}: {last_lines(output.stderr)}")
    return GitFailed(arguments, output.exit_code, last_lines(output.stderr))


async def _end(child: Child, running: asyncio.Future[GitOutput]) -> None:
    """Have it end, kill it where it does not in time, and wait for that."""
    child.terminate()
    await asyncio.wait([running], timeout=ENDING_SECONDS)
    child.kill()
    await asyncio.wait([running])
    if not running.cancelled():
        running.exception()  # looked at, so that asyncio does not report it as forgotten


def _quoted(path: Path) -> str:
    """A path for a colon-separated list of git's: quoted, for it may hold a colon itself."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
