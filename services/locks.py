"""Locks between processes of ours, by flock: the kernel drops them when their holder dies.

The descriptor is handed to the git child as well. So a lock is held as long as anybody still
works under it, also when the service was killed and its git process goes on for a moment.
"""

import asyncio
import fcntl
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

FIRST_PAUSE_SECONDS = 0.002
LONGEST_PAUSE_SECONDS = 0.1
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


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
def folder_held(folder: Path, mode: int = 0o777) -> Iterator[None]:
    """Make a folder, and show other processes that it is worked in, as long as the block lasts and we live.

    It is never there without being held, so nobody takes it for a dead one's; it may be removed within the block.
    Raises FileExistsError. Blocking.
    """
    descriptor = None
    while descriptor is None:
        folder.mkdir(mode, parents=True)
        descriptor = _held(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def _held(folder: Path) -> int | None:
    """The descriptor that holds a folder; None where it was removed before we held it."""
    try:
        descriptor = os.open(folder, _FOLDER)
    except FileNotFoundError:
        return None
    try:
        # Whoever holds it alone looks who works in it, or removes it, and waits for nobody meanwhile.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _is_still(folder, descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


@contextmanager
def unheld(folder: Path) -> Iterator[bool]:
    """Whether something is there in which no process that lives works; while the block lasts none begins to.

    What is no folder nobody works in. Blocking.
    """
    with ExitStack() as opened:
        yield _is_unheld(folder, opened)


def _is_unheld(folder: Path, opened: ExitStack) -> bool:
    try:
        descriptor = _opened(folder)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return True
    opened.callback(os.close, descriptor)
    return _try_acquire(descriptor, fcntl.LOCK_EX) and _is_still(folder, descriptor)


def _opened(folder: Path) -> int:
    """Open a folder, also one that who worked in it has closed to us."""
    try:
        return os.open(folder, _FOLDER | os.O_NOFOLLOW)
    except PermissionError:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise
        folder.chmod(0o700)
        return os.open(folder, _FOLDER | os.O_NOFOLLOW)


def _is_still(folder: Path, descriptor: int) -> bool:
    """Whether what is open is what lies there, and not an earlier folder of that name."""
    try:
        return os.path.samestat(folder.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder alone, for a moment while names in it change. Blocking."""
    descriptor = os.open(folder, _FOLDER)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
