"""A run's folder: what it holds already, and how files get into it. Blocking; meant for a thread."""

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import time

LAYOUT = 1
"""Raised when the pages change, so that a rebuild writes them anew."""

UNFINISHED_SECONDS = 3600.0
"""After which a file that is not finished is nobody's any more."""

_MANIFEST = ".manifest.json"
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Of which run a folder is, how many of its events it knows, and of what each file was made."""

    origin: str = ""
    sequence: int = -1
    layout: int = LAYOUT
    stamps: Mapping[str, str] = field(default_factory=dict)

    def knows(self, origin: str, sequence: int) -> bool:
        """Whether there is nothing new to it."""
        return self.origin == origin and self.layout == LAYOUT and self.sequence >= sequence


def read_manifest(folder: Path) -> Manifest:
    """What the folder says of itself; nothing, where it cannot be read."""
    try:
        return Manifest(**json.loads((folder / _MANIFEST).read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return Manifest()


def forget(folder: Path) -> None:
    """Let the folder say nothing of itself, so that all its files are written anew."""
    (folder / _MANIFEST).unlink(missing_ok=True)


def look(folder: Path, stamps: Mapping[str, str]) -> tuple[Manifest, frozenset[str]]:
    """What the folder says of itself, and which of these files are there and were made of the same."""
    manifest = read_manifest(folder)
    same = [path for path, stamp in stamps.items() if manifest.stamps.get(path) == stamp]
    return manifest, frozenset(path for path in same if os.path.isfile(folder / path))


def write_files(folder: Path, files: Mapping[str, bytes], manifest: Manifest) -> None:
    """Write files, then the manifest. Nothing, where another process has written more meanwhile.

    A process that is stopped between that look and its renames can still put an older file in place; the next
    event of the run, or a rebuild, mends it.
    """
    if read_manifest(folder).knows(manifest.origin, manifest.sequence):
        return
    folder.mkdir(parents=True, exist_ok=True)
    _clear_unfinished(folder)
    for path, content in files.items():
        _write(folder / path, content)
    # First what the manifest speaks of: after a power cut it must not name files that are not there.
    _sync(folder, *((folder / path).parent for path in files))
    _write(folder / _MANIFEST, json.dumps(asdict(manifest), indent=2).encode())
    _sync(folder, folder.parent)


def _write(target: Path, content: bytes) -> None:
    """The file under its name is the old one or the new one, whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def _sync(*folders: Path) -> None:
    for folder in sorted(set(folders)):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _clear_unfinished(folder: Path) -> None:
    """What a killed process left behind; a young file may be the work of one that lives."""
    for leftover in folder.rglob(f"{_UNFINISHED}*"):
        with suppress(FileNotFoundError):
            if time() - leftover.stat().st_mtime > UNFINISHED_SECONDS:
                leftover.unlink()
