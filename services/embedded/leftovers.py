"""What a killed keeper left behind: server processes that still run, and the file that names their leader."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

PID_FILE = "postmaster.pid"
PROCESSES = Path("/proc")
PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.02


class LeftoversRemain(Exception):
    """Processes of an earlier server are still at work in the data directory, and do not end."""


async def clear_leftovers(data: Path) -> None:
    """End the processes of an earlier server in `data`, then remove the file that names their leader.

    The caller holds the keeper's lock, so nobody starts a new one meanwhile. The file has to go: its number
    may since have been given to a process of somebody else, and Postgres would then refuse to start.
    """
    if not PROCESSES.is_dir():
        return  # Without /proc (macOS) the server judges the file by itself.
    for stop in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if await _ended(data, stop):
            (data / PID_FILE).unlink(missing_ok=True)
            return
    raise LeftoversRemain(f"{LeftoversRemain.__doc__} {sorted(servers_in(data))}")


async def _ended(data: Path, stop: signal.Signals) -> bool:
    for process_id in servers_in(data):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, stop)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(servers_in(data)):  # noqa: ASYNC110 - a foreign process's end sends no event
                await asyncio.sleep(POLL_SECONDS)
    return not any(servers_in(data))


def servers_in(data: Path) -> Iterator[int]:
    """Find the processes of Postgres that work in `data`: each has it as its current folder."""
    for process in PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It has ended meanwhile, or is not ours to look at.
            if (process / "exe").readlink().name == "postgres" and (process / "cwd").samefile(data):
                yield int(process.name)
