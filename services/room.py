"""Room on the disks: nothing is begun where too little is left, and what is done waits until it can be kept."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import TypeVar

import structlog

from events.families.base import ArtifactRef
from services.artifacts import ArtifactStore
from services.retrying import Backoff

LOOK_SECONDS = 2.0
PATIENCE_SECONDS = 0.2
"""So long somebody who asks waits for a look; then the last one counts."""
HANGING_SECONDS = 10.0
"""A look that takes longer is a disk that hangs, not one that is busy."""
MEGABYTE = 1024 * 1024
FULL = (errno.ENOSPC, errno.EDQUOT)
DoneT = TypeVar("DoneT")
logger = structlog.get_logger(__name__)


def is_full(error: BaseException | None) -> bool:
    """Whether an error comes from a disk, or a quota, that is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__
    return False


def free_bytes(folder: Path) -> int:
    """What may still be written where a folder is, or will be made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class Room:
    """Whether there is room for new work in folders: so many bytes free in each of them at least."""

    def __init__(
        self,
        folders: Iterable[Path],
        least_bytes: int,
        free: Callable[[Path], int] = free_bytes,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._folders = tuple(folders)
        self._least_bytes = least_bytes
        self._free = free
        self._seconds = seconds
        self._looked_at = float("-inf")
        self._lack: str | None = None
        self._looking: asyncio.Task[str | None] | None = None
        self._began_at = 0.0

    async def lack(self) -> str | None:
        """Where there is too little room, in words; None where there is enough. Looked at every two seconds."""
        if self._least_bytes and self._seconds() - self._looked_at >= LOOK_SECONDS:
            await self._look_again()
        return self._lack

    async def _look_again(self) -> None:
        """A disk that hangs must not hold up whoever asks: that is a lack as well."""
        if self._looking is None:
            self._looking = asyncio.create_task(asyncio.to_thread(self._look))
            self._began_at = monotonic()
        looking, waited = self._looking, monotonic() - self._began_at
        done, _ = await asyncio.wait({looking}, timeout=max(0.0, PATIENCE_SECONDS - waited))
        if not done:
            if waited > HANGING_SECONDS:
                self._tell("the disks have not said for a while how much is free")
            return
        if self._looking is looking:
            self._looking, self._looked_at = None, self._seconds()
        self._tell(looking.result())

    def _look(self) -> str | None:
        for folder in self._folders:
            try:
                free = self._free(folder)
            except OSError as error:
                return f"{folder} does not say how much is free: {error}"
            if free < self._least_bytes:
                least = self._least_bytes // MEGABYTE
                return f"too little room in {folder}: {free // MEGABYTE} MB are free, and {least} MB are needed"
        return None

    def _tell(self, lack: str | None) -> None:
        if lack is not None and self._lack is None:
            logger.warning("no new work is begun", trouble=lack)
        if lack is None and self._lack is not None:
            logger.info("there is room again")
        self._lack = lack


EVERYWHERE = Room((), 0)
"""Nobody asks how much is free."""


class PatientStore:
    """An artifact store whose users wait while its disk is full: what they have to keep was paid for.

    It waits without an end of its own: who has only so much time must give up by himself.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self.get, self.read, self.replace = store.get, store.read, store.replace
        self.list, self.delete = store.list, store.delete

    async def put(self, data: bytes) -> ArtifactRef:
        """Keep a blob and give its reference."""
        return await _when_there_is_room(lambda: self._store.put(data))

    async def create(self, name: str, data: bytes) -> bool:
        """Keep a value under a name that has none; False where it has one."""
        return await _when_there_is_room(lambda: self._store.create(name, data))


async def _when_there_is_room(do: Callable[[], Awaitable[DoneT]]) -> DoneT:
    backoff = Backoff()
    while True:
        try:
            return await do()
        except OSError as error:
            if not is_full(error):
                raise
            logger.warning("waiting for room", error=str(error))
        await backoff.pause()
