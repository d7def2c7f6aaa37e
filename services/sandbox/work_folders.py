"""Folders that are made for one piece of work each: nobody collects them while it goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import structlog

from services.locks import folder_held
from services.processes.finishing import in_any_case
from services.sandbox.ownership import remove_folder

logger = structlog.get_logger(__name__)


@asynccontextmanager
async def work_folder(folder: Path, mode: int = 0o777) -> AsyncIterator[Path]:
    """Make a folder, of which there was none, and remove it in the end; held from its making until it is gone.

    Where it cannot be removed it is left to the collector.
    """
    with ExitStack() as holding:
        try:
            await in_any_case(asyncio.to_thread(holding.enter_context, folder_held(folder, mode)))
            yield folder
        finally:
            await remove_or_leave(folder)


async def remove_or_leave(folder: Path) -> None:
    """Remove a folder of work that has ended, in any case; what cannot be removed is left there, and logged.

    Raised, its fault would take the place of what the work came to, or of its being cancelled.
    """
    await in_any_case(asyncio.to_thread(_remove_or_leave, folder))


def _remove_or_leave(folder: Path) -> None:
    try:
        remove_folder(folder)
    except Exception:  # whatever an agent has made of it
        logger.exception("folder not removed", folder=str(folder))
