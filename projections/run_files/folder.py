"""A run's folder: what it holds already, and how files get into it. Blocking; meant for a thread."""

import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from time import time

import orjson

LAYOUT = 3
"""Raised when the pages change, or what stamps are made of: a folder of another layout is written anew."""

UNFINISHED_SECONDS = 3600.0
"""After which a file that is not finished is nobody's any more."""

_MANIFEST = ".manifest.json"
_UNFINISHED = ".unfinished-"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Of which run a folder is, how many of its events it knows, and of what each file was made.

    Where it names a boot its files are not synced: it holds for as long as the machine stays up. Else for ever.
    """

    origin: str = ""
    sequence: int = -1
    layout: int = LAYOUT
    stamps: Mapping[str, str] = field(default_factory=dict)
    boot: str = ""

    @property
    def is_synced(self) -> bool:
        """Whether all that it names is on the disk."""
        return not self.boot

    def knows(self, origin: str, sequence: int) -> bool:
        """Whether there is nothing new to it."""
        return self.origin == origin and self.sequence >= sequence


def boot_id() -> str:
    """The system's name for the machine's present boot; empty where it has none."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


@lru_cache(maxsize=1)
def this_boot() -> str:
    """The machine's present boot; where the system has no name for it, a name that this process alone knows."""
    return boot_id() or secrets.token_hex(16)


def read_manifest(folder: Path) -> Manifest:
    """What the folder says of itself; nothing, where that cannot be read, is of another layout or another boot."""
    try:
        found = Manifest(**orjson.loads((folder / _MANIFEST).read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return Manifest()
    return found if found.layout == LAYOUT and found.boot in ("", this_boot()) else Manifest()


def forget(folder: Path) -> None:
    """Let the folder say nothing of itself any more, so that all its files are written anew."""
    with suppress(FileNotFoundError):
        (folder / _MANIFEST).unlink()
        _sync(folder)


def look(folder: Path, stamps: Mapping[str, str]) -> tuple[Manifest, frozenset[str]]:
    """What the folder says of itself, and which of these files are there and were made of the same."""
    manifest = read_manifest(folder)
    same = [path for path, stamp in stamps.items() if manifest.stamps.get(path) == stamp]
    return manifest, frozenset(path for path in same if os.path.isfile(os.path.join(folder, path)))


def write_files(folder: Path, files: Mapping[str, bytes], manifest: Manifest) -> None:
    """Write files, then the manifest. Nothing, where another process has written more meanwhile.

    A process that is stopped between that look and its renames can still put an older file in place; the next
    event of the run, or a rebuild, mends it.
    """
    known = read_manifest(folder)
    if known.knows(manifest.origin, manifest.sequence):
        return
    folders = {folder, *(folder / name for name in {os.path.dirname(path) for path in (*files, *manifest.stamps)})}
    for one in folders:
        one.mkdir(parents=True, exist_ok=True)
    if manifest.is_synced:
        _write_synced(folder, files, manifest, folders)
        return
    if known.origin and known.is_synced:
        # It would come back after a power cut, and speak of files that were torn by it.
        forget(folder)
    for path, content in files.items():
        _write(folder / path, content, synced=False)
    _write(folder / _MANIFEST, _encoded(manifest), synced=False)


def _write_synced(folder: Path, files: Mapping[str, bytes], manifest: Manifest, folders: Iterable[Path]) -> None:
    _clear_unfinished(folder)
    for path, content in files.items():
        _write(folder / path, content, synced=True)
    # First what the manifest speaks of: after a power cut it must not name files that are not there.
    try:
        _sync(*(folder / path for path in manifest.stamps.keys() - files.keys()), *folders)
    except OSError:
        # The system says once that it has lost what it was to write: asked again it would say that all is well.
        forget(folder)
        raise
    _write(folder / _MANIFEST, _encoded(manifest), synced=True)
    _sync(folder, folder.parent)


def _encoded(manifest: Manifest) -> bytes:
    return orjson.dumps(manifest, option=orjson.OPT_INDENT_2)


def _write(target: Path, content: bytes, *, synced: bool) -> None:
    """The file under its name is the old one or the new one, whole; after a power cut only where it is synced."""
    unfinished = target.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        os.replace(unfinished, target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _sync(*paths: Path) -> None:
    """Files and folders."""
    for path in sorted(set(paths)):
        descriptor = os.open(path, os.O_RDONLY)
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
