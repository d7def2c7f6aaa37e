"""What lies in a home and can go: work of killed processes, and what was not used for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time

import structlog

from projections.queries.retention import OpenRuns
from services.git.collection import StillNeeded, collect_mirror
from services.git.command import GitCommand
from services.locks import locked, unheld
from services.preparation import collect_unused
from services.processes.finishing import in_any_case
from services.sandbox import end_orphans, remove_folder

LOCK = "collection.flock"
HOUR_SECONDS = 3600.0
DAY_SECONDS = 86_400.0
LEFT_HOURS = 24.0
logger = structlog.get_logger(__name__)


class CollectedElsewhere(Exception):
    """Somebody else collects from this home."""


@dataclass(frozen=True, slots=True)
class HomeCollected:
    """What went, or would: folders and files, and refs of mirrors as `folder refs/…`."""

    paths: tuple[Path, ...] = ()
    references: tuple[str, ...] = ()


@asynccontextmanager
async def collecting(home: Path, limit_seconds: float) -> AsyncIterator[None]:
    """Collect from a home alone. Raises CollectedElsewhere where that is not to be had for so long."""
    await asyncio.to_thread(home.mkdir, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(locked(home / LOCK, limit_seconds=limit_seconds))
        except TimeoutError:
            raise CollectedElsewhere(CollectedElsewhere.__doc__) from None
        yield


async def collect_home(
    home: Path,
    git: GitCommand,
    open_runs: OpenRuns,
    *,
    unused_days: float,
    left_hours: float = LEFT_HOURS,
    dry_run: bool = False,
) -> HomeCollected:
    """Remove what killed processes left so long ago, and what was not used for so many days."""
    if not dry_run:
        await asyncio.to_thread(end_orphans, home.resolve())
    left = await in_any_case(asyncio.to_thread(_clear, home, time() - left_hours * HOUR_SECONDS, dry_run))
    prepared = await collect_unused(home / "prepared", unused_days, dry_run=dry_run)
    needed = StillNeeded(time() - unused_days * DAY_SECONDS, open_runs.run_ids, open_runs.commits)
    references = [
        f"{mirror} {reference}"
        for mirror in await asyncio.to_thread(_mirrors, home)
        for reference in await collect_mirror(git, mirror, needed, dry_run=dry_run)
    ]
    return HomeCollected((*left, *prepared), tuple(references))


def _clear(home: Path, latest: float, dry_run: bool) -> list[Path]:
    return [path for path in _leftovers(home) if _is_older(path, latest) and _is_cleared(path, dry_run)]


def _is_older(path: Path, latest: float) -> bool:
    try:
        return path.lstat().st_mtime <= latest
    except FileNotFoundError:
        return False  # whoever worked in it has just removed it
    except OSError as error:
        return _is_in_the_way(path, error)


def _is_cleared(path: Path, dry_run: bool) -> bool:
    """Remove it, unless a process that lives works in it, and let nobody begin to meanwhile."""
    try:
        with unheld(path) as is_left:
            if is_left and not dry_run:
                _remove(path)
            return is_left
    except OSError as error:
        return _is_in_the_way(path, error)


def _is_in_the_way(path: Path, error: OSError) -> bool:
    """It stays, and must not keep all else from going."""
    logger.warning("not collected", path=str(path), error=str(error))
    return False


def _leftovers(home: Path) -> list[Path]:
    """Clones and work trees, requests of agents, quarantines: each is made for one piece of work."""
    patterns = ("work/*", "scratch/*", "mirrors/*/autopack/quarantines/*", "mirrors/.new-*")
    return sorted(path for pattern in patterns for path in home.glob(pattern))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)


def _mirrors(home: Path) -> list[Path]:
    return sorted(path.parent for path in home.glob("mirrors/*.git/autopack") if path.is_dir())
