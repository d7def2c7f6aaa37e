"""Locks between processes of ours, by flock: the kernel drops them when their holder dies.

The descriptor is handed to the git child as well. So a lock is held as long as anybody still
works under it, also when the service was killed and its git process goes on for a moment.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

FIRST_PAUSE_SECONDS = 0.002
LONGEST_PAUSE_SECONDS = 0.1


@asynccontextmanager
async def locked(path: Path, *, shared: bool = False, limit_seconds: float = 900.0) -> AsyncIterator[int]:
    """Hold the lock in `path`, alone or shared; yields its descriptor. Raises TimeoutError.

    It asks again and again instead of blocking a thread: the holder may need that very thread.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        async with asyncio.timeout(limit_seconds):
            await _acquire(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


async def _acquire(descriptor: int, kind: int) -> None:
    pause = FIRST_PAUSE_SECONDS
    while not _try_acquire(descriptor, kind):
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _try_acquire(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def folder_held(folder: Path) -> Iterator[None]:
    """Show other processes that a folder is worked in, for as long as the block lasts and this process lives."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _try_acquire(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether a process that lives works in a folder; of what is gone, or no folder, nobody does."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        return not _try_acquire(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


@contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder alone, for a moment while names in it change. Blocking."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
