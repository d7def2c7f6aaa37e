"""Folders that are made for one piece of work each: nobody collects them while it goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from services.git.locks import folder_held
from services.processes.finishing import in_any_case
from services.sandbox.ownership import remove_folder


@asynccontextmanager
async def work_folder(folder: Path, mode: int = 0o777) -> AsyncIterator[Path]:
    """Make a folder, of which there was none, and remove it in the end; held from its making until it is gone."""
    with ExitStack() as holding:
        try:
            await in_any_case(asyncio.to_thread(holding.enter_context, folder_held(folder, mode)))
            yield folder
        finally:
            await in_any_case(asyncio.to_thread(remove_folder, folder))
