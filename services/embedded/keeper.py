"""The process that keeps the embedded Postgres: starts it, and stops it when its last user has gone.

It belongs to no user: whichever of them dies, the others keep their server. It learns that nobody is left
from the users' lock, which the kernel takes from the dead. Started as
`python -m services.embedded.keeper ROOT DESCRIPTOR`: the open file of the keeper's lock, already held.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

from services.embedded.binaries import locate_binaries
from services.embedded.cluster import ServerEnded, make_cluster, start_server, stop_server, until_ready
from services.embedded.launch import choose_launch
from services.embedded.layout import Layout
from services.embedded.leftovers import clear_leftovers
from services.embedded.locks import Lock, Mode, try_lock, wait_for_lock

HELD: list[Lock] = []
"""Locks that are held until this process ends."""


async def keep(layout: Layout, binaries: Path) -> None:
    """Run the server until nobody uses it any more, or until we are told to stop."""
    launch = await choose_launch(layout.root)
    await clear_leftovers(layout.data)
    await make_cluster(layout, launch, binaries)
    process = await start_server(layout, launch, binaries)
    try:
        await until_ready(layout, process)
        serving = wait_for_lock(layout.serving, Mode.EXCLUSIVE)
        await until_unused(layout, process)
        serving.release()
    finally:
        await stop_server(layout, process)
        # Whoever still uses the server has its address, and starts the next one at it.
        if HELD or try_lock(layout.users, Mode.EXCLUSIVE) is not None:
            layout.remove_socket_folder()


async def until_unused(layout: Layout, process: asyncio.subprocess.Process) -> None:
    """Return when the last user has gone, or on SIGTERM; raise when the server ended by itself."""
    loop = asyncio.get_running_loop()
    finish = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, finish.set)
    threading.Thread(target=watch_users, args=(layout.users, loop, finish), daemon=True).start()
    ended = asyncio.ensure_future(process.wait())
    finished = asyncio.ensure_future(finish.wait())
    await asyncio.wait({ended, finished}, return_when=asyncio.FIRST_COMPLETED)
    if not finished.done():
        raise ServerEnded(f"{ServerEnded.__doc__} Exit code {process.returncode}.")


def watch_users(users: Path, loop: asyncio.AbstractEventLoop, finish: asyncio.Event) -> None:
    """Wait until no user is left, in a thread that nobody waits for.

    The lock is then kept to our own end, so that a new user waits until this server has stopped.
    """
    HELD.append(wait_for_lock(users, Mode.EXCLUSIVE))
    with contextlib.suppress(RuntimeError):  # The loop is closed: we are ending for another reason.
        loop.call_soon_threadsafe(finish.set)


def main(root: str, descriptor: str) -> None:
    """Leave the process that started us, and keep the server."""
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    os.chdir("/")
    os.set_inheritable(int(descriptor), False)
    try:
        asyncio.run(keep(Layout(Path(root)), locate_binaries()))
    except Exception as fault:
        # The end of the log is what a user is told: the fact alone, without our call stack.
        sys.exit(f"{type(fault).__name__}: {fault}")


if __name__ == "__main__":
    main(*sys.argv[1:])
