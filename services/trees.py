"""Trees that an agent may have made: walked and removed however deep they are, and without following a link.

Python 3.11 walks and removes by recursion, which a thousand nested folders exhaust, and no path may have more than
4,096 bytes. Here one folder is open at a time, and `..` leads back. Blocking; nobody else moves folders meanwhile.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 1000
"""So often removing is begun anew where something was gone: somebody else was at it, and came further."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Listing:
    """One folder, open until the next is asked for; `way` are the names that lead to it from the top.

    What is taken out of `folders` is not entered. All else, links to folders too, is in `files`.
    """

    descriptor: int
    way: Sequence[str]
    folders: list[str]
    files: list[str]


def walk(top: Path, when_left: Callable[[str, int], object] = lambda name, parent: None) -> Iterator[Listing]:
    """List a folder and all below it, each before those in it. What we may not enter is passed over.

    `when_left` is told of each folder below the top after all in it: its name, and the open folder that it is in.
    """
    first = _opened(str(top), None)
    if first is None:
        return
    stair = _Stair(first)
    try:
        yield (listing := stair.listing())
        waiting = [listing.folders]
        while waiting:
            if not waiting[-1]:
                waiting.pop()
                if stair.names:
                    when_left(stair.go_up(), stair.descriptor)
            elif stair.go_down(waiting[-1].pop()):
                yield (listing := stair.listing())
                waiting.append(listing.folders)
    finally:
        os.close(stair.descriptor)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all in it, also where our rights to it were taken away.

    What goes by somebody else's hand meanwhile is no error.
    """
    for _ in range(ROUNDS):
        if not folder.exists():
            return
        with suppress(FileNotFoundError):
            _remove_all(folder)
    raise OSError(errno.ENOTEMPTY, f"not removed in {ROUNDS} rounds", str(folder))


def _remove_all(folder: Path) -> None:
    folder.chmod(0o700)
    for listing in walk(folder, lambda name, parent: os.rmdir(name, dir_fd=parent)):
        for name in listing.files:
            os.unlink(name, dir_fd=listing.descriptor)
        for name in listing.folders:
            os.chmod(name, 0o700, dir_fd=listing.descriptor)
    folder.rmdir()


class _Stair:
    """The one folder that is open, and how it was reached."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.names: list[str] = []
        self._above: list[tuple[int, int]] = []

    def listing(self) -> Listing:
        folders: list[str] = []
        files: list[str] = []
        with os.scandir(self.descriptor) as entries:
            for entry in entries:
                (folders if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
        return Listing(self.descriptor, self.names, folders, files)

    def go_down(self, name: str) -> bool:
        deeper = _opened(name, self.descriptor)
        if deeper is None:
            return False
        self.names.append(name)
        self._above.append(_identity(self.descriptor))
        self._move(deeper)
        return True

    def go_up(self) -> str:
        self._move(os.open("..", _FOLDER, dir_fd=self.descriptor))
        if _identity(self.descriptor) != self._above.pop():
            raise OSError(errno.ESTALE, "a folder was moved while we were in it", self.names[-1])
        return self.names.pop()

    def _move(self, descriptor: int) -> None:
        os.close(self.descriptor)
        self.descriptor = descriptor


def _opened(name: str, parent: int | None) -> int | None:
    """Open a folder; None where it is none any more, or we may not read it, or not get back from it."""
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    if os.access(".", os.X_OK, dir_fd=descriptor, effective_ids=os.access in os.supports_effective_ids):
        return descriptor
    os.close(descriptor)
    return None


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
