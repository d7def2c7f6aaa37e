"""Paths in a folder that somebody hostile has written in: reached without following any link."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def relative_path(text: str) -> PurePosixPath | None:
    """A path that stays within whatever folder it is taken in; None for any other, and for the folder itself."""
    path = PurePosixPath(text)
    if "\0" in text or path.is_absolute() or ".." in path.parts or not path.parts:
        return None
    return path


@contextlib.contextmanager
def opened_folder(folder: Path, inner: PurePosixPath) -> Iterator[int]:
    """Open the folder `inner` within `folder`; raises OSError where a part is missing, a file or a link."""
    descriptor = os.open(folder, _FOLDER)
    try:
        for name in inner.parts:
            deeper = os.open(name, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
        yield descriptor
    finally:
        os.close(descriptor)
