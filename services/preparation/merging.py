"""Laying a prepared result over a checked-out tree: what to show where."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from services.preparation.result import PreparationFailed
from services.sandbox import Mount

MOST_MOUNTS = 1000


def mounts_over(tree: Path, result: Path, paths: Iterable[PurePosixPath]) -> tuple[Mount, ...]:
    """What to lend to a job that works in `tree`. Blocking.

    A path that the tree does not have is shown as it is. Where the tree has a folder, both show: its own
    files, and beside them what was prepared. Where both have a file, the prepared one shows, for a check's
    tools are not for a candidate to replace. Raises PreparationFailed where that takes too many mounts.
    """
    found: list[Mount] = []
    for path in paths:
        for mount in _merged(tree, result, path):
            found.append(mount)
            if len(found) > MOST_MOUNTS:
                raise PreparationFailed(f"{path} is mixed with files of the repository in too many places")
    return tuple(found)


def _merged(tree: Path, result: Path, path: PurePosixPath) -> Iterator[Mount]:
    kind = _kind(result / path)
    if kind == stat.S_IFDIR and _kind(tree / path) == stat.S_IFDIR:
        for name in sorted(os.listdir(result / path)):
            yield from _merged(tree, result, path / name)
    elif kind in (stat.S_IFDIR, stat.S_IFREG):
        # Not a link: mounted, it would show whatever it leads to on this machine.
        yield Mount(result / path, Path(path))


def _kind(path: Path) -> int | None:
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except OSError:
        return None
