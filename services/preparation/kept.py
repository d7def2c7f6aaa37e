"""Where the results of preparations are kept: a folder for each key, which a mark makes count.

    KEY.lock           held shared by whoever uses the result, alone by whoever makes or removes it
    KEY/made           names the try that came to its end, and the boot; without it nothing in the folder counts
    KEY/TRY/tree/…     the result, where it was made

A result stays where it was made, for without a sandbox that place stands in its scripts. All of it may be
removed at any time when nobody works. It is not synced to the disk, for that would take long: after a power cut
it may be a tree of empty files. So a mark counts for as long as the machine stays up; where the system has no name
for that, it counts for ever.
"""

import asyncio
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from projections.run_files.folder import boot_id
from services.locks import locked
from services.processes.finishing import in_any_case
from services.sandbox import remove_folder

MARK = "made"
LOCK_SUFFIX = ".lock"
DAY_SECONDS = 86_400.0
logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """The place of one key under the folder of all results."""

    root: Path
    key: str

    @property
    def lock(self) -> Path:
        """The file whose lock guards the key."""
        return self.root / f"{self.key}{LOCK_SUFFIX}"

    @property
    def folder(self) -> Path:
        """The folder of the key."""
        return self.root / self.key

    def tree(self) -> Path | None:
        """The result, if there is one; its use is noted. Blocking."""
        mark = self.folder / MARK
        try:
            name, _, boot = mark.read_text().partition("\n")
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        tree = self.folder / name / "tree"
        if boot != boot_id() or not tree.is_dir():
            return None
        os.utime(mark)
        return tree

    def begin(self) -> Path:
        """Clear away what dead makers left, and give the tree of a new try, not yet made. Blocking."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.remove()
        return self.folder / secrets.token_hex(8) / "tree"

    def finish(self, tree: Path) -> None:
        """Make a try count. Blocking."""
        draft = self.folder / f"{MARK}.draft"
        draft.write_text(f"{tree.parent.name}\n{boot_id()}")
        draft.replace(self.folder / MARK)

    def remove(self) -> None:
        """Remove all of the key but its lock; the mark goes first. Blocking."""
        (self.folder / MARK).unlink(missing_ok=True)
        for name in os.listdir(self.folder):
            path = self.folder / name
            if path.is_dir():
                remove_folder(path)
            else:
                path.unlink(missing_ok=True)

    def unused_since(self) -> float:
        """When it was last used, in seconds since the epoch; a try without a mark counts from its beginning."""
        for path in (self.folder / MARK, self.folder):
            with suppress(FileNotFoundError):
                return path.stat().st_mtime
        return float("inf")


async def collect_unused(root: Path, unused_days: float, *, dry_run: bool = False) -> list[Path]:
    """Remove results that nobody has used for so long, and nobody uses now; returns their folders, gone or not."""
    before = time.time() - unused_days * DAY_SECONDS
    kept = [Kept(root, key) for key in await asyncio.to_thread(_keys, root)]
    return [one.folder for one in kept if await _collect(one, before, dry_run)]


def _keys(root: Path) -> list[str]:
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if path.is_dir())


async def _collect(kept: Kept, before: float, dry_run: bool) -> bool:
    try:
        async with locked(kept.lock, limit_seconds=0):
            if kept.unused_since() > before:
                return False
            if not dry_run:
                await in_any_case(asyncio.to_thread(_remove_folder, kept))
            return True
    except TimeoutError:
        return False  # somebody works with it
    except OSError as error:
        logger.warning("not collected", path=str(kept.folder), error=str(error))
        return False  # it must not keep the others from going


def _remove_folder(kept: Kept) -> None:
    kept.remove()
    kept.folder.rmdir()
