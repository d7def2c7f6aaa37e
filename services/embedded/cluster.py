"""The server's own life: its data directory made, the server started, ready, stopped."""

import asyncio
import contextlib
import os
import shutil
import signal
from pathlib import Path

from services.embedded.launch import Launch
from services.embedded.layout import PORT, ROLE, Layout
from services.embedded.leftovers import PID_FILE

POLL_SECONDS = 0.02
PATIENCE_SECONDS = 20.0
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "jit": "off",
}


class ServerEnded(Exception):
    """The server ended by itself."""


async def make_cluster(layout: Layout, launch: Launch, binaries: Path) -> None:
    """Make the data directory where there is none: first under another name: it is whole or absent."""
    if not layout.data.exists():
        unfinished = layout.root / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        await asyncio.to_thread(give, unfinished, launch.owner_id)
        await run_initdb(unfinished, launch, binaries)
        unfinished.rename(layout.data)
    await asyncio.to_thread(give, layout.data, launch.owner_id)


async def run_initdb(data: Path, launch: Launch, binaries: Path) -> None:
    """Fill a new data directory. Text is UTF-8 and sorts by code point, alike on every machine."""
    locale = ("--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    # Who may open the socket is settled by its folder, which is for this user alone.
    access = (f"--username={ROLE}", "--auth=trust")
    process = await launch.start(binaries / "initdb", "-D", data, *access, *locale, "--no-instructions")
    if await process.wait() != 0:
        raise ServerEnded(f"initdb ended with exit code {process.returncode}")


def give(folder: Path, owner_id: int) -> None:
    """Make all in the folder belong to the user that the server runs as; nothing where it does already."""
    if folder.stat().st_uid == owner_id:
        return
    for place, _, files in os.walk(folder, topdown=False):  # the top comes last: it is the sign that all is done
        for name in files:
            os.chown(os.path.join(place, name), owner_id, -1, follow_symlinks=False)
        os.chown(place, owner_id, -1)


async def start_server(layout: Layout, launch: Launch, binaries: Path) -> asyncio.subprocess.Process:
    """Start the server; it does not take connections yet."""
    settings = SETTINGS | {"unix_socket_directories": str(layout.make_socket_folder()), "port": str(PORT)}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return await launch.start(binaries / "postgres", "-D", layout.data, *options)


async def until_ready(layout: Layout, process: asyncio.subprocess.Process) -> None:
    """Return when the server says that it takes connections. Recovery after a crash may take its time."""
    ended = asyncio.ensure_future(process.wait())
    while not ended.done():
        if read_status(layout.data) == "ready":
            ended.cancel()
            return
        await asyncio.wait({ended}, timeout=POLL_SECONDS)
    raise ServerEnded(f"{ServerEnded.__doc__} Exit code {process.returncode}.")


async def stop_server(layout: Layout, process: asyncio.subprocess.Process) -> None:
    """Stop the server and wait for its end: fast first, then at once, then by force."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        if process.returncode is None and (leader := read_leader(layout.data)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
    if process.returncode is None:
        process.kill()
        await process.wait()


def read_leader(data: Path) -> int | None:
    """Return the process id of the server. It is not that of our child where bubblewrap stands between."""
    lines = read_pid_file(data)
    return int(lines[0]) if lines else None


def read_status(data: Path) -> str | None:
    """Return how far the server is, in its own word."""
    lines = read_pid_file(data)
    return lines[7].strip() if len(lines) > 7 else None


def read_pid_file(data: Path) -> list[str]:
    """Return the lines of the file that the server keeps while it runs."""
    try:
        return (data / PID_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
