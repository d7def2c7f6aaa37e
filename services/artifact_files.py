"""Whole files by relative paths: in a folder, or on any file system of fsspec. All calls block."""

import contextlib
import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

INCOMING = "incoming"
_LOCAL = re.compile(r"(?:file|local):(?://)?")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*(?:://|::)", re.IGNORECASE)


def folder_of(url: str) -> Path | None:
    """The folder of this machine that a path or an fsspec URL means, or None for a store elsewhere."""
    local = _LOCAL.match(url)
    if local is None and _ELSEWHERE.match(url):
        return None
    return Path(os.path.abspath(os.path.expanduser(url[local.end() :] if local else url)))


@dataclass(frozen=True, slots=True)
class FileDetails:
    """A file: its path, how large it is, and when it was written last, in seconds since the epoch."""

    path: str
    size_bytes: int
    modified: float


class Files(Protocol):
    """Blocking access to whole files, by relative paths."""

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Write a file where there is none; False, and nothing written, where there is one."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        ...

    def walk(self, folder: str) -> Iterator[str]:
        """The path of every file below a folder."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file; none is no error."""
        ...

    def modified(self, path: str) -> float | None:
        """When a file was written last, in seconds since the epoch; None where there is none."""
        ...

    def details(self, folder: str) -> Iterator[FileDetails]:
        """Every file below a folder, with its details."""
        ...


class LocalFiles:
    """A folder. A file appears under its name only when it is whole and on the disk."""

    def __init__(self, root: Path):
        self._root = root

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none."""
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError:
            return None

    def create(self, path: str, data: bytes) -> bool:
        """Write a file where there is none; False, and nothing written, where there is one."""
        target = self._root / path
        if target.exists():
            return False
        with self._written(data) as incoming:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                # A link, because a rename would overwrite what another process has created meanwhile.
                os.link(incoming, target)
            except FileExistsError:
                return False
        _sync_folder(target.parent)
        return True

    def replace(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        target = self._root / path
        with self._written(data) as incoming:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(incoming, target)
        _sync_folder(target.parent)

    def walk(self, folder: str) -> Iterator[str]:
        """The path of every file below a folder."""
        for parent, _, files in os.walk(self._root / folder):
            for name in files:
                yield (Path(parent) / name).relative_to(self._root).as_posix()

    def delete(self, path: str) -> None:
        """Remove a file; none is no error."""
        (self._root / path).unlink(missing_ok=True)

    def modified(self, path: str) -> float | None:
        """When a file was written last, in seconds since the epoch; None where there is none."""
        try:
            return (self._root / path).stat().st_mtime
        except FileNotFoundError:
            return None

    def details(self, folder: str) -> Iterator[FileDetails]:
        """Every file below a folder, with its details."""
        for path in self.walk(folder):
            with contextlib.suppress(FileNotFoundError):
                status = (self._root / path).stat()
                yield FileDetails(path, status.st_size, status.st_mtime)

    @contextlib.contextmanager
    def _written(self, data: bytes) -> Iterator[Path]:
        """Write data to a file of its own, down to the disk; it is gone afterwards, unless it was renamed."""
        folder = self._root / INCOMING
        folder.mkdir(parents=True, exist_ok=True)
        incoming = folder / secrets.token_hex(16)
        try:
            with incoming.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield incoming
        finally:
            incoming.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class RemoteFiles:
    """A file system of fsspec, whose writes of whole objects are atomic by nature."""

    # For backends that look before they write; between machines it is their condition on the write that counts.
    _creating = threading.Lock()

    def __init__(self, filesystem: Any, root: str):
        self._filesystem = filesystem
        self._root = root

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none."""
        try:
            data: bytes = self._filesystem.cat_file(self._place(path))
        except FileNotFoundError:
            return None
        return data

    def create(self, path: str, data: bytes) -> bool:
        """Write a file where there is none; False, and nothing written, where there is one."""
        with self._creating:
            try:
                self._make_parents(path)
                self._filesystem.pipe_file(self._place(path), data, mode="create")
            except FileExistsError:
                return False
        return True

    def replace(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        self._make_parents(path)
        self._filesystem.pipe_file(self._place(path), data)

    def walk(self, folder: str) -> Iterator[str]:
        """The path of every file below a folder."""
        try:
            found: list[str] = self._filesystem.find(self._place(folder))
        except FileNotFoundError:
            return
        yield from map(self._relative, found)

    def delete(self, path: str) -> None:
        """Remove a file; none is no error."""
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(self._place(path))

    def modified(self, path: str) -> float | None:
        """When a file was written last, in seconds since the epoch; None where there is none."""
        self._filesystem.invalidate_cache()  # what it remembers of listings may be old
        try:
            moment: datetime = self._filesystem.modified(self._place(path))
        except FileNotFoundError:
            return None
        return moment.timestamp()

    def details(self, folder: str) -> Iterator[FileDetails]:
        """Every file below a folder, with its details."""
        self._filesystem.invalidate_cache()
        try:
            found: Mapping[str, Mapping[str, Any]] = self._filesystem.find(self._place(folder), detail=True)
        except FileNotFoundError:
            return
        for place, told in found.items():
            path = self._relative(place)
            modified = _moment(told)
            if modified is None:  # this file system tells it of single files alone
                modified = self.modified(path)
            if modified is not None:
                yield FileDetails(path, int(told.get("size") or 0), modified)

    def _make_parents(self, path: str) -> None:
        self._filesystem.makedirs(self._place(path).rpartition("/")[0], exist_ok=True)

    def _place(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _relative(self, place: str) -> str:
        start = f"{self._root.strip('/')}/".lstrip("/")
        return place.lstrip("/").removeprefix(start)


def _moment(told: Mapping[str, Any]) -> float | None:
    """The time among what a file system lists of a file; each has a name of its own for it."""
    for name in ("LastModified", "last_modified", "mtime"):
        found = told.get(name)
        if isinstance(found, datetime):
            return found.timestamp()
        if isinstance(found, int | float):
            return float(found)
    return None
