"""Moving refs of a target, and what to do about the lock files of git processes that were killed.

Git's lock files do not say who made them. Ours are known by two signs: every writer of ours holds
the mirror's writer lock (and so does its git child), and before it touches the target it leaves an
intent. Whoever holds the writer lock alone and finds an intent knows that its writer is dead.
A lock without such a sign is somebody else's, and is respected.
"""

import logging
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.git.command import Place
from services.git.failures import GitFailed, ReferenceLocked
from services.git.mirror import Mirror
from services.locks import locked
from services.processes.finishing import in_any_case

_LOCK_TAKEN = re.compile(r"Unable to create '([^\n]+\.lock)': File exists")
_ALONE_LIMIT_SECONDS = 30.0
_UPDATE_LIMIT_SECONDS = 30.0
"""Git itself waits ten seconds for a lock. Whoever gives up the work waits so long for what it has begun."""
_log = logging.getLogger(__name__)


async def write_references(mirror: Mirror, place: Place, commands: str) -> None:
    """Carry out commands of `update-ref --stdin` at `place`, the target's.

    The lock of a dead writer of ours is removed, once. Raises ReferenceLocked when another holds
    it, GitFailed when git refuses, for instance because an old value is no longer true.
    """
    try:
        await _write(mirror, place, commands)
    except GitFailed as error:
        lock = _lock_named_in(error.stderr_tail, place)
        if lock is None:
            raise
        if not await _clear(mirror, lock):
            raise ReferenceLocked(str(lock)) from error
        await _write(mirror, place, commands)


async def _write(mirror: Mirror, place: Place, commands: str) -> None:
    async with locked(mirror.writer_lock, shared=True) as descriptor:
        # Also where the work is given up meanwhile: a git that is killed leaves its locks to the user.
        await in_any_case(_update(mirror, place, commands, descriptor))


async def _update(mirror: Mirror, place: Place, commands: str, descriptor: int) -> None:
    with _intent(mirror):
        await mirror.git.run(
            place,
            "update-ref",
            "--stdin",
            stdin=commands.encode(),
            limit_seconds=_UPDATE_LIMIT_SECONDS,
            kept_descriptors=(descriptor,),
        )


@contextmanager
def _intent(mirror: Mirror) -> Iterator[None]:
    """A file that stays behind when we, or our git, are killed while a target's refs are written."""
    intent = mirror.intents / uuid.uuid4().hex
    intent.touch()
    try:
        yield
    except GitFailed:  # git ended by itself, and took its locks with it
        intent.unlink(missing_ok=True)
        raise
    intent.unlink(missing_ok=True)


def _lock_named_in(stderr: str, place: Place) -> Path | None:
    found = _LOCK_TAKEN.search(stderr)
    return Path(found.group(1)) if found is not None and place.git_dir is not None else None


async def _clear(mirror: Mirror, lock: Path) -> bool:
    """Remove a lock whose owner was ours and is dead; whether the way is free now."""
    try:
        async with locked(mirror.writer_lock, limit_seconds=_ALONE_LIMIT_SECONDS):
            return _remove_if_ours(mirror, lock)
    except TimeoutError:
        return False


def _remove_if_ours(mirror: Mirror, lock: Path) -> bool:
    try:
        made_at = lock.lstat().st_mtime
    except FileNotFoundError:
        return True
    if not _orphaned_intents(mirror, made_at):
        return False
    _log.warning("removed %s, left %.0f s ago by a writer that is dead", lock, time.time() - made_at)
    lock.unlink(missing_ok=True)
    return True


def _orphaned_intents(mirror: Mirror, made_at: float) -> bool:
    """Whether an intent left behind covers the moment at which a lock was made."""
    with os.scandir(mirror.intents) as entries:
        intents = [entry.stat().st_mtime for entry in entries]
    return any(begun - 0.1 <= made_at <= begun + _UPDATE_LIMIT_SECONDS for begun in intents)
