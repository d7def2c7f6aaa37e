"""The command `autopack` as its users start it: a process of its own, with a home and a repository of the test."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AUTOPACK = Path(sys.executable).parent / "autopack"
LIMIT_SECONDS = 90.0
CONFIGURATION = """\
[checks.normal]
tests = { argv = ["python3", "-c", "import totals; assert totals.total([1, 2]) == 3"], timeout_seconds = 30 }
[ruleset]
check_tries = 1
"""
BUILDER = """\
import json, pathlib, sys, time
request = json.load(sys.stdin)
print("building", request["phase"]["phase_id"], flush=True)
pathlib.Path(request["phase"]["phase_id"] + ".txt").write_text(str(request["attempt"]))
for argument in sys.argv[1:]:
    pathlib.Path("begun").touch()
    while not pathlib.Path(argument, "open").exists():
        time.sleep(0.05)
    pathlib.Path("begun").unlink()
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command printed, and its exit code."""

    exit_code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; where there is none, what was said instead."""
        assert self.out, f"nothing on stdout, exit code {self.exit_code}: {self.err}"
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """One JSON document a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class CommandLine:
    """Starts commands on one home; `stop` ends what still runs."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    running: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def repository(self) -> Path:
        return self.folder / "shop"

    @property
    def environment(self) -> dict[str, str]:
        passed = {name: value for name, value in os.environ.items() if not name.startswith("AUTOPACK_")}
        kept = {name: os.environ[name] for name in ("AUTOPACK_ALLOW_UNSANDBOXED",) if name in os.environ}
        path = f"{AUTOPACK.parent}:{passed.get('PATH', '')}"
        return {**passed, **kept, "PATH": path, "AUTOPACK_HOME": str(self.home), **self.variables}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            str(AUTOPACK),
            *arguments,
            cwd=self.folder,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
            preexec_fn=_heed_interrupts,
        )
        self.running.append(process)
        return process

    async def finished(self, process: asyncio.subprocess.Process) -> Finished:
        async with asyncio.timeout(LIMIT_SECONDS):
            out, err = await process.communicate()
        self.running.remove(process)
        assert process.returncode is not None
        return Finished(process.returncode, out.decode(), err.decode())

    async def run(self, *arguments: str) -> Finished:
        return await self.finished(await self.start(*arguments))

    async def stop(self) -> None:
        """Nothing stays, whatever became of the test."""
        for process in self.running:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.communicate()
        await until(lambda: not keeper_lives(self.home), "the embedded server to stop")

    # ---- what a user has

    def make_repository(self, configuration: str | None = CONFIGURATION) -> None:
        """A repository with one commit, its main branch checked out."""
        self.repository.mkdir()
        (self.repository / "totals.py").write_text("def total(prices):\n    return sum(prices)\n")
        if configuration is not None:
            (self.repository / "autopack.toml").write_text(configuration)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=begin")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@t.invalid")
        command = ["git", *identity, "-C", str(self.repository), *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def plan(self, name: str = "plan.json", phases: int = 2, **changes: Any) -> str:
        """A plan of one tier."""
        document = {
            "tiers": [{"tier_id": "T1", "tier_index": 0, "name": "Cart"}],
            "phases": [
                {"phase_id": f"P{i}", "tier_id": "T1", "phase_index": i, "name": f"Part {i}"}
                for i in range(1, phases + 1)
            ],
            **changes,
        }
        file = self.folder / name
        file.write_text(json.dumps(document))
        return str(file)

    def builder(self, *arguments: str | Path, source: str = BUILDER) -> str:
        """The command of a builder that writes a file a phase; with a folder it waits for `open` in it."""
        file = self.folder / "builder.py"
        file.write_text(source)
        return " ".join(map(str, ("python3", file, *arguments)))

    def configure_builder(self, command: str) -> None:
        """Make it the operator's default."""
        self.home.mkdir(exist_ok=True)
        argv = json.dumps(command.split())
        text = f'[defaults]\nbuilder = "file"\n[builder.file]\nkind = "command"\nargv = {argv}\n'
        (self.home / "agents.toml").write_text(text)

    def builds_begun(self) -> list[Path]:
        """The clones in which a builder that waits has begun."""
        return list(self.home.glob("work/**/begun"))


def _heed_interrupts() -> None:
    """As at a terminal: whoever tests in the background of a shell ignores Ctrl-C, and children take that over."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def keeper_lives(home: Path) -> bool:
    """Whether a process of the home's embedded server still runs."""
    pid_file = home / "postgres" / "data" / "postmaster.pid"
    return pid_file.exists()


async def until(condition: Callable[[], object], what: str, limit_seconds: float = 60.0) -> None:
    """Wait for a condition, with a deadline."""
    try:
        async with asyncio.timeout(limit_seconds):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited {limit_seconds:g} s for {what}") from None
