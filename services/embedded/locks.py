"""Locks between processes, held with `flock`.

The kernel lets go of such a lock when its last holder dies, however it dies: this is what leaves nothing
broken after a kill -9. A lock belongs to the open file, so a child that is given the file holds it on.
"""

import fcntl
import os
from enum import Enum
from pathlib import Path


class Mode(Enum):
    """How a lock is held: by many at once, or by one alone."""

    SHARED = fcntl.LOCK_SH
    EXCLUSIVE = fcntl.LOCK_EX


class Lock:
    """A held lock. It is let go by `release`, or by the death of all who hold its file open."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def descriptor(self) -> int:
        """The open file, to be passed on to a child."""
        return self._descriptor

    def release(self) -> None:
        """Let go of the lock. Harmless when done twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def try_lock(path: Path, mode: Mode) -> Lock | None:
    """Take the lock on `path` without waiting, or return None where others hold it in the way."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, mode.value | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return Lock(descriptor)


def wait_for_lock(path: Path, mode: Mode) -> Lock:
    """Take the lock on `path`. Blocks the calling thread until it is free."""
    descriptor = _open(path)
    fcntl.flock(descriptor, mode.value)
    return Lock(descriptor)


def is_held_exclusively(path: Path) -> bool:
    """Tell whether some process holds the lock on `path` for itself alone."""
    probe = try_lock(path, Mode.SHARED)
    if probe is None:
        return True
    probe.release()
    return False


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
