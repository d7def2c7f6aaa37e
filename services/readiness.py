"""A file that says from outside whether a service is ready: it is touched for as long as it is."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import structlog

from services.status import ServiceStatus

FOLDER = "ready"
TOUCH_SECONDS = 5.0
logger = structlog.get_logger(__name__)


async def show_readiness(home: Path, statuses: Iterable[ServiceStatus], stop: asyncio.Event) -> None:
    """Keep `ready/<service>` under `home` fresh while the service is ready, and away while it is not.

    A watcher looks at the file's age: a process that hangs touches nothing.
    """
    files = {home / FOLDER / status.name: status for status in statuses}
    while not stop.is_set():
        await asyncio.to_thread(_show, {file: status.is_ready for file, status in files.items()})
        try:
            await asyncio.wait_for(stop.wait(), TOUCH_SECONDS)
        except TimeoutError:
            continue
    await asyncio.to_thread(_show, dict.fromkeys(files, False))


def _show(ready: dict[Path, bool]) -> None:
    """A disk that is full, say, makes files grow old, which is what watchers look at; it ends no service."""
    try:
        for file, is_ready in ready.items():
            if is_ready:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
            else:
                file.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("readiness not shown", error=str(error))
