"""The processes of a sandbox seen from outside: signalled as a group, and waited for until all are dead."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from services.processes import signal_group

LARGEST_INFO_BYTES = 65536


class Namespace:
    """Knows the first process of a sandbox, which takes all others with it when it dies.

    Bubblewrap itself ends as soon as the command does, a moment before what the command left behind is dead.
    """

    def __init__(self, reader: int):
        self._reader = reader
        self._told = b""
        self._init_pid = 0
        self._init: int | None = None

    def hear(self) -> None:
        """Take what bubblewrap has told so far."""
        with contextlib.suppress(BlockingIOError):
            self._told += os.read(self._reader, LARGEST_INFO_BYTES)
        if self._init is None and self._told:
            with contextlib.suppress(ValueError):
                self._open(json.loads(self._told))

    def send_signal(self, pid: int, number: signal.Signals) -> None:
        """Signal the command and its group, not bubblewrap, whose death by SIGTERM would kill them at once."""
        if number is signal.SIGKILL:
            signal_group(pid, number)
        if self._init is None:
            signal_group(pid, number)
        elif number is signal.SIGKILL or not _has_children(self._init_pid):
            # With no child the command has not begun, and nobody would hear a request to end.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
        else:
            # The first process leads the group, and being the first it takes no harm from the signal.
            signal_group(self._init_pid, number)

    async def ended(self) -> None:
        """Wait until every process in the sandbox is dead."""
        self.hear()
        if self._init is None:
            return
        loop = asyncio.get_running_loop()
        dead = asyncio.Event()
        loop.add_reader(self._init, dead.set)
        try:
            await dead.wait()
        finally:
            loop.remove_reader(self._init)
            os.close(self._init)
            self._init = None

    def _open(self, info: dict[str, int]) -> None:
        pid = info["child-pid"]
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        if _namespace_of(pid) == info["pid-namespace"]:
            self._init_pid, self._init = pid, descriptor
        else:
            os.close(descriptor)


def _has_children(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text().strip())
    except OSError:
        return True  # a kernel that does not tell


def _namespace_of(pid: int) -> int | None:
    """Say which namespace a process is in: ours may be dead, and its number somebody else's by now."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return None


@contextlib.contextmanager
def watched_namespace() -> Iterator[tuple[Namespace, int]]:
    """Give a namespace to come, and the descriptor on which bubblewrap is to tell of it."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    namespace = Namespace(reader)
    loop = asyncio.get_running_loop()
    loop.add_reader(reader, namespace.hear)
    try:
        yield namespace, writer
    finally:
        loop.remove_reader(reader)
        os.close(reader)
        os.close(writer)
