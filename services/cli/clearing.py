"""`gc`: what processes that were killed left in the home."""

import asyncio
from pathlib import Path
from time import time

from services.sandbox import remove_folder
from services.settings import Settings

SECONDS_AN_HOUR = 3600.0


async def clear_leftovers(settings: Settings, older_than_hours: float, *, dry_run: bool) -> list[Path]:
    """Remove folders of work that nobody has touched for so long; returns them, removed or not."""
    return await asyncio.to_thread(_clear, settings.home_folder, older_than_hours, dry_run)


def _clear(home: Path, older_than_hours: float, dry_run: bool) -> list[Path]:
    latest = time() - older_than_hours * SECONDS_AN_HOUR
    found = [path for path in _leftovers(home) if path.lstat().st_mtime <= latest]
    if not dry_run:
        for path in found:
            _remove(path)
    return found


def _leftovers(home: Path) -> list[Path]:
    """Clones and work trees, requests of agents, quarantines: each is made for one piece of work."""
    patterns = ("work/*", "scratch/*", "mirrors/*/autopack/quarantines/*", "mirrors/.new-*")
    return sorted(path for pattern in patterns for path in home.glob(pattern))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)
