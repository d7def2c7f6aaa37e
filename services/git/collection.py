"""Removing from a mirror what nobody has used for long: refs by the time of their files, then their objects."""

import asyncio
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import structlog

from services.git.command import GitCommand, Place
from services.git.failures import GitFailure, GitTimedOut
from services.git.fetching import fetching
from services.locks import locked
from services.processes.finishing import in_any_case

CANDIDATES = "refs/autopack"
BASES = "refs/bases"
LOCK_SECONDS = 30.0
FETCH_SECONDS = 1.0
"""Nobody fetches then but a git process whose service was killed; users wait behind us."""
LEFT_SECONDS = 86_400.0
"""Quarantines, intents and locks of refs that are older were left by processes that are dead."""
MANY_PACKS = 20
MANY_LOOSE = 20
"""In one of the 256 folders of loose objects: some 5,000 in all."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StillNeeded:
    """What stays in whatever age: candidates of these runs, these base commits, and what was used since then."""

    used_since: float
    run_ids: frozenset[str] = frozenset()
    commits: frozenset[str] = frozenset()


async def collect_mirror(
    git: GitCommand, folder: Path, needed: StillNeeded, *, dry_run: bool = False
) -> list[str]:
    """Remove what is not needed from a mirror; the refs that went, or would. It waits for users, but not for long.

    What a killed collection left half done the next one brings to its end.
    """
    place = _Place(folder)
    try:
        async with locked(place.lock, limit_seconds=LOCK_SECONDS) as descriptor:
            unused = await asyncio.to_thread(_unused, folder, needed)
            if dry_run:
                return [reference for reference, _ in unused]
            await in_any_case(asyncio.to_thread(_clear_leftovers, folder, time.time() - LEFT_SECONDS))
            async with fetching(folder, FETCH_SECONDS):
                pass  # which clears what killed fetches left, and the lock that collections share with them
            if unused or place.mark.exists() or await asyncio.to_thread(_is_scattered, folder):
                place.mark.touch()
                place.git_lock.unlink(missing_ok=True)
                await in_any_case(asyncio.to_thread(_remove, folder, [file for _, file in unused]))
                await _collect_objects(git, folder, descriptor)
                place.mark.unlink()
            return [reference for reference, _ in unused]
    except (TimeoutError, GitTimedOut):
        logger.info("mirror in use, nothing collected", mirror=str(folder))
    except (GitFailure, OSError) as error:
        logger.warning("mirror not collected", mirror=str(folder), error=str(error))
    return []


@dataclass(frozen=True, slots=True)
class _Place:
    """The files of a mirror that a collection works with; the same as those of an open one."""

    folder: Path

    @property
    def lock(self) -> Path:
        return self.folder / "autopack" / "collection.flock"

    @property
    def mark(self) -> Path:
        return self.folder / "autopack" / "collecting"

    @property
    def git_lock(self) -> Path:
        """Of a git that was killed as it began to collect: while we are alone here no other one does."""
        return self.folder / "gc.pid.lock"


def _unused(folder: Path, needed: StillNeeded) -> list[tuple[str, Path]]:
    """Refs that may go. One that is damaged goes as well: git would stumble over it, and it can be made again."""
    found = []
    for reference, file in _references(folder):
        value = file.read_text(errors="replace").strip()
        kept = file.stat().st_mtime >= needed.used_since or _is_needed(reference, value, needed)
        if not kept or not _COMMIT.fullmatch(value):
            found.append((reference, file))
    return sorted(found)


def _is_needed(reference: str, commit: str, needed: StillNeeded) -> bool:
    if reference.startswith(f"{BASES}/"):
        return commit in needed.commits
    return unquote(reference.removeprefix(f"{CANDIDATES}/").partition("/")[0]) in needed.run_ids


def _references(folder: Path) -> Iterator[tuple[str, Path]]:
    for root in (CANDIDATES, BASES):
        for parent, _, names in os.walk(folder / root):
            for name in names:
                file = Path(parent) / name
                if not name.endswith(".lock"):
                    yield file.relative_to(folder).as_posix(), file


def _remove(folder: Path, files: list[Path]) -> None:
    for file in files:
        file.unlink()
        for parent in file.parents:
            if parent in (folder / CANDIDATES, folder / BASES):
                break
            with suppress(OSError):  # something else is in it
                parent.rmdir()


def _clear_leftovers(folder: Path, before: float) -> None:
    """Nobody of ours is at work here: what is left of them is of the dead, and old enough to be sure of it."""
    places = (*folder.glob("autopack/quarantines/*"), *folder.glob("autopack/pin-*"))
    left = (*places, *folder.glob("autopack/intents/*"), *folder.glob("refs/**/*.lock"))
    for path in left:
        with suppress(FileNotFoundError):
            if path.lstat().st_mtime >= before:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _is_scattered(folder: Path) -> bool:
    """Whether there are so many packs, or loose objects, that looking for one takes long."""
    packs = sum(1 for _ in folder.glob("objects/pack/*.pack"))
    return packs > MANY_PACKS or sum(1 for _ in folder.glob("objects/17/*")) > MANY_LOOSE


async def _collect_objects(git: GitCommand, folder: Path, descriptor: int) -> None:
    """Let git pack what refs lead to, and forget what is older than a day and unreachable.

    Refs stay files, since their times tell of their use. The lock is held by git as well, should we be killed.
    """
    await git.run(
        Place(git_dir=folder),
        *("-c", "gc.packRefs=false", "-c", "gc.cruftPacks=false", "-c", "gc.writeCommitGraph=false"),
        *("gc", "--quiet", "--force", "--prune=1.day.ago"),
        limit_seconds=git.settings.fetch_limit_seconds,
        kept_descriptors=(descriptor,),
    )
