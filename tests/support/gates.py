"""Agents that wait at a gate until the test opens it, so that a test knows what goes on at the same time."""

import asyncio
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil

from support.builds import Build

WAITS = """
import json, os, pathlib, sys, time
request = json.load(sys.stdin)
def report(**keys):
    pathlib.Path(os.environ['AUTOPACK_REPORT']).write_text(json.dumps(keys))
name = request['run_id'] + '-' + request['phase']['phase_id']
gate = pathlib.Path(sys.argv[1])
deadline = time.monotonic() + 100
while not ((gate / name).exists() or (gate / 'all').exists()) and time.monotonic() < deadline:
    time.sleep(0.01)
"""
WRITES = "pathlib.Path(name + '.txt').write_text('done\\n')\n"


class Gate:
    """A folder that agents can see and not change: an agent goes on when its name, or `all`, is in it."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self._folder = folder / name
        self._folder.mkdir()
        self._script = folder / f"{name}.py"

    def waiting(self) -> list[int]:
        """The agents that wait at this gate now.

        A sandbox that names one has not begun it yet, and if it is killed then it leaves what runs nothing.
        """
        own = [str(self._script), str(self._folder)]
        listed = psutil.process_iter(["cmdline"])
        return [process.pid for process in listed if (process.info["cmdline"] or [])[1:] == own]

    def agent(self, body: str = WRITES) -> tuple[str, ...]:
        """An agent that waits for its gate, and then does what `body` says; left out, it writes a file."""
        self._script.write_text(WAITS + body)
        return (sys.executable, str(self._script), str(self._folder))

    def open(self, run_id: str, phase_id: str) -> None:
        """Let the agent of one phase go on."""
        (self._folder / f"{run_id}-{phase_id}").touch()

    def open_all(self) -> None:
        """Let everybody go on."""
        (self._folder / "all").touch()


def builds_claimed(history: Iterable[dict[str, Any]]) -> list[str]:
    """The phases of the builds that have been claimed, one entry a claim."""
    phases: dict[str, str] = {}
    claimed = []
    for event in history:
        if event["type"] == "autopack.BuildRequested.v1":
            phases[event["id"]] = event["data"]["phase_id"]
        if event["type"] == "autopack.WorkStarted.v1" and event["data"]["request_id"] in phases:
            claimed.append(phases[event["data"]["request_id"]])
    return claimed


async def until(
    build: Build,
    holds: Callable[[list[dict[str, Any]]], bool],
    run_id: str = "run-1",
    project: str = "shop",
    seconds: float = 60,
) -> list[dict[str, Any]]:
    """Wait until something holds of a run's history, and return it."""
    async with asyncio.timeout(seconds):
        while not holds(history := await build.history(run_id, project)):
            await asyncio.sleep(0.02)
    return history
