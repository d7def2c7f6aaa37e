"""Locks between processes of ours, by flock: the kernel drops them when their holder dies.

The descriptor is handed to the git child as well. So a lock is held as long as anybody still
works under it, also when the service was killed and its git process goes on for a moment.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
