"""Fetching into a mirror: one fetch at a time, and whoever fetches clears what killed fetches left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog

from services.git.failures import GitTimedOut
from services.locks import locked
from services.processes.finishing import in_any_case

PACKS = ("objects/pack/*.keep", "objects/pack/tmp_*")
"""The marks by which fetches keep their packs from collection until a ref leads there, and packs half written."""
SHALLOW = ("shallow.lock",)
"""Of a fetch from where the history is cut, or of a collection: neither goes on where it lies."""
REFERENCES = ("refs/bases/*.lock",)
LOCK_SECONDS = 900.0
logger = structlog.get_logger(__name__)


@asynccontextmanager
async def fetching(folder: Path, limit_seconds: float = LOCK_SECONDS) -> AsyncIterator[int]:
    """Hold the fetch lock of a mirror; yields its descriptor, for git to hold as well. Raises GitTimedOut.

    The collection lock is to be held before, shared or alone: then what a fetch leaves is no living process's.
    """
    async with AsyncExitStack() as held:
        try:
            lock = locked(folder / "autopack" / "fetch.flock", limit_seconds=limit_seconds)
            descriptor = await held.enter_async_context(lock)
        except TimeoutError as error:
            raise GitTimedOut(f"{limit_seconds:g} s: waiting for another fetch") from error
        try:
            await in_any_case(asyncio.to_thread(_clear, folder, PACKS + SHALLOW))
            yield descriptor
        finally:
            await in_any_case(asyncio.to_thread(_clear, folder, PACKS + SHALLOW + REFERENCES))


def _clear(folder: Path, patterns: tuple[str, ...]) -> None:
    """What cannot be removed now is there the next time, and hinders nobody."""
    try:
        for left in (path for pattern in patterns for path in folder.glob(pattern)):
            left.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("what a fetch left is not cleared", mirror=str(folder), error=str(error))
