"""What is lent to a job within its work folder: the places that it needs there, and their removal afterwards.

A job may have changed its folder in any way before the next one runs in it. So no link is followed, and
what finds its way blocked is not lent.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from services.sandbox.inside import opened_folder
from services.sandbox.ownership import remove_folder
from services.sandbox.specification import Mount


class Lending:
    """Puts things into a work folder, each at a relative place, and knows what it has to take away again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[PurePosixPath] = []
        self._copied: list[PurePosixPath] = []

    def mount_points(self, mounts: Sequence[Mount]) -> list[Mount]:
        """Make the empty files and folders to mount on; returns what can be mounted. Blocking."""
        return [mount for mount in mounts if self._make_point(mount)]

    def copies(self, mounts: Sequence[Mount]) -> None:
        """Copy what is lent, where nothing lies in its place. Blocking."""
        for mount in mounts:
            self._copy(mount)

    def take_away(self) -> None:
        """Remove copies, whatever has become of them, and what else was made and still is empty. Blocking."""
        for place in self._copied:
            self._at(place, lambda parent, path: _remove(path, os.lstat(path.name, dir_fd=parent)))
        for place in reversed(self._made):
            self._at(place, lambda parent, path: _remove_if_empty(parent, path.name))

    def _make_point(self, mount: Mount) -> bool:
        place = PurePosixPath(mount.destination)
        is_folder = mount.source.is_dir()
        with self._parent(place) as parent:
            if parent is None:
                return False
            if _make(parent, place.name, is_folder):
                self._made.append(place)
                return True
            kind = stat.S_IFMT(os.lstat(place.name, dir_fd=parent).st_mode)
            return kind == (stat.S_IFDIR if is_folder else stat.S_IFREG)

    def _copy(self, mount: Mount) -> None:
        place = PurePosixPath(mount.destination)
        target = self._folder / place
        with self._parent(place) as parent:
            if parent is None or os.path.lexists(target):
                return
        self._copied.append(place)
        if mount.source.is_dir():
            shutil.copytree(mount.source, target, symlinks=True)
        else:
            shutil.copy2(mount.source, target)

    @contextlib.contextmanager
    def _parent(self, place: PurePosixPath) -> Iterator[int | None]:
        """Open the folder above a place, made if need be; None where something else stands in the way."""
        for length in range(1, len(place.parts)):
            folder = PurePosixPath(*place.parts[:length])
            with contextlib.suppress(OSError), opened_folder(self._folder, folder.parent) as above:
                if _make(above, folder.name, is_folder=True):
                    self._made.append(folder)
        with contextlib.ExitStack() as opened:
            parent: int | None = None
            with contextlib.suppress(OSError):
                parent = opened.enter_context(opened_folder(self._folder, place.parent))
            yield parent

    def _at(self, place: PurePosixPath, act: Callable[[int, Path], None]) -> None:
        """Do something at a place, as long as no link has been put above it and there still is something."""
        with contextlib.suppress(OSError), opened_folder(self._folder, place.parent) as parent:
            act(parent, self._folder / place)


def _make(parent: int, name: str, is_folder: bool) -> bool:
    """Make an empty folder or file; False where there is something."""
    try:
        if is_folder:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
    except FileExistsError:
        return False
    return True


def _remove_if_empty(parent: int, name: str) -> None:
    status = os.lstat(name, dir_fd=parent)
    if stat.S_ISDIR(status.st_mode):
        os.rmdir(name, dir_fd=parent)
    elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
        os.unlink(name, dir_fd=parent)


def _remove(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        remove_folder(path)
    else:
        path.unlink()
