"""A quarantine: objects made from an agent's patch, kept apart until policy has judged them.

What is refused never gets into the mirror. A quarantine lies on the mirror's file system, so
keeping its objects is a matter of renaming files.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.git.command import GitCommand, Place
from services.git.mirror import Mirror, in_use, sync
from services.processes.finishing import in_any_case
from services.sandbox import work_folder


class QuarantineMissing(Exception):
    """The quarantine is gone, with all that was made in it."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """New objects and a private index over a mirror, which is only read."""

    mirror: Mirror
    folder: Path

    @property
    def git(self) -> GitCommand:
        """The git to call."""
        return self.mirror.git

    @property
    def objects(self) -> Path:
        """The folder that takes the new objects."""
        return self.folder / "objects"

    @property
    def place(self) -> Place:
        """Where a git process works: it reads the mirror's objects, and writes here."""
        return Place(git_dir=self.mirror.folder, index=self.folder / "index", quarantine=self.objects)


@asynccontextmanager
async def open_quarantine(mirror: Mirror) -> AsyncIterator[Quarantine]:
    """A fresh quarantine, gone at the end with everything that was not kept; the mirror is in use meanwhile.

    So what it did not write, because the mirror has it, is there until a ref leads to it.
    """
    async with in_use(mirror), work_folder(mirror.quarantines / secrets.token_hex(8)) as folder:
        await in_any_case(asyncio.to_thread((folder / "objects").mkdir))
        yield Quarantine(mirror, folder)


async def keep_objects(quarantine: Quarantine, commit: str) -> int:
    """Move all objects into the mirror, each synced to the disk, this commit last; returns how many files.

    Whoever finds the commit there takes it for whole: so it is, wherever this ends. Raises QuarantineMissing.
    """
    destination = quarantine.mirror.folder / "objects"
    return await in_any_case(asyncio.to_thread(_move_all, quarantine.objects, destination, commit))


def _move_all(source: Path, destination: Path, commit: str) -> int:
    files = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    if not source.is_dir():
        raise QuarantineMissing(f"{QuarantineMissing.__doc__} {source}")
    last = Path(commit[:2], commit[2:])
    for folder in {file.parent for file in files}:
        (destination / folder).mkdir(parents=True, exist_ok=True)
    sync(destination)
    # A pack's index goes after it: what it lists is then there.
    _move(sorted({*files} - {last}, key=lambda file: file.suffix == ".idx"), source, destination)
    _move([file for file in files if file == last], source, destination)
    return len(files)


def _move(files: Sequence[Path], source: Path, destination: Path) -> None:
    for file in files:
        sync(source / file)
        (source / file).rename(destination / file)
    for folder in {file.parent for file in files}:
        sync(destination / folder)
