"""What a preparation leaves: the paths that it was to make, and nothing that the base has already."""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from services.sandbox import remove_folder
from services.sandbox.inside import opened_folder, relative_path
from services.trees import walk

GIT_FOLDER = ".git"


class PreparationFailed(Exception):
    """The preparation that autopack.toml asks for did not end well"""

    def __init__(self, reason: str, *, for_changed_locks: bool = False):
        super().__init__(f"{self.__doc__}: {reason}")
        self.reason = reason
        self.for_changed_locks = for_changed_locks
        """Whether it was made for lock files that the base does not have: then they may be at fault."""


def checked_paths(name: str, paths: Iterable[str]) -> tuple[PurePosixPath, ...]:
    """The paths of a preparation, outermost alone; raises PreparationFailed for one outside of the tree."""
    found = {text: relative_path(text) for text in paths}
    for text, path in found.items():
        if path is None or not text.isprintable() or GIT_FOLDER in path.parts:
            raise PreparationFailed(f"{name}: {text!r} is no path within the tree")
    inside = sorted({path for path in found.values() if path is not None})
    return tuple(path for path in inside if not any(other in path.parents for other in inside))


def files_of(tree: Path, paths: Iterable[PurePosixPath]) -> frozenset[PurePosixPath]:
    """The files that lie at or below the paths. Blocking."""
    return frozenset(file for path in paths for file in _files_at(tree, path))


def _files_at(tree: Path, path: PurePosixPath) -> Iterator[PurePosixPath]:
    if not _is_folder(tree / path):
        yield from (path,) if os.path.lexists(tree / path) else ()
        return
    for listing in walk(tree / path):
        folder = path.joinpath(*listing.way)
        yield from (folder / name for name in listing.files)


def reduce_to_result(tree: Path, paths: tuple[PurePosixPath, ...], base_files: Iterable[PurePosixPath]) -> None:
    """Leave of a tree only what the preparation made at its paths, readable by whoever it is lent to. Blocking.

    Raises PreparationFailed where a path was not made, or leads elsewhere.
    """
    for path in paths:
        _check_made(tree, path)
    # Lent, a file of the base would come back where a candidate has removed it.
    remove_files(tree, base_files)
    _prune(tree, PurePosixPath(), paths)
    for path in paths:
        _make_readable(tree / path)


def _check_made(tree: Path, path: PurePosixPath) -> None:
    try:
        with opened_folder(tree, path.parent) as parent:
            kind = stat.S_IFMT(os.lstat(path.name, dir_fd=parent).st_mode)
    except OSError as error:
        raise PreparationFailed(f"it did not make {path}: {error.strerror}") from error
    if kind not in (stat.S_IFDIR, stat.S_IFREG):
        raise PreparationFailed(f"it made {path} a link or something else that is neither file nor folder")


def remove_files(tree: Path, files: Iterable[PurePosixPath]) -> None:
    """Remove files, as far as they still are files and no link has been put above them. Blocking."""
    for file in files:
        with contextlib.suppress(OSError), opened_folder(tree, file.parent) as parent:
            os.unlink(file.name, dir_fd=parent)


def _prune(tree: Path, inner: PurePosixPath, paths: tuple[PurePosixPath, ...]) -> None:
    for name in os.listdir(tree / inner):
        path = inner / name
        if path in paths:
            continue
        if any(path in kept.parents for kept in paths):
            _prune(tree, path, paths)
        elif _is_folder(tree / path):
            remove_folder(tree / path)
        else:
            (tree / path).unlink()


def _make_readable(path: Path) -> None:
    """Each job runs as another user; what was made for its maker alone would be of no use to it."""
    _open_to_all(str(path), None)
    if _is_folder(path):
        for listing in walk(path):
            for name in (*listing.folders, *listing.files):
                _open_to_all(name, listing.descriptor)


def _open_to_all(name: str, parent: int | None) -> None:
    mode = os.lstat(name, dir_fd=parent).st_mode
    if not stat.S_ISLNK(mode):
        owner = mode & 0o700 | (0o700 if stat.S_ISDIR(mode) else 0o400)
        os.chmod(name, owner | (owner & 0o500) >> 3 | (owner & 0o500) >> 6, dir_fd=parent)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
