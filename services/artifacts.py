"""The artifact store: what is too big for an event, by the hash of its content, and a few values by name."""

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from events.families.base import ArtifactRef

BLOBS = "blobs"
NAMED = "named"
INCOMING = "incoming"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LONGEST_SEGMENT_BYTES = 250


class ArtifactMissing(Exception):
    """The artifact is not in the store"""

    def __init__(self, digest: str):
        super().__init__(f"{self.__doc__}: {digest}")
        self.digest = digest


class ArtifactCorrupt(Exception):
    """The content of the artifact is not what its name says"""

    def __init__(self, digest: str):
        super().__init__(f"{self.__doc__}: {digest}")
        self.digest = digest


class ArtifactNameInvalid(ValueError):
    """A name in the artifact store has one or more parts between slashes, none empty or too long"""

    def __init__(self, name: str):
        super().__init__(f"{self.__doc__}: {name!r}")
        self.name = name


class ArtifactStore(Protocol):
    """Blobs by content, which never change, and values by name, which are created once or replaced whole."""

    async def put(self, data: bytes) -> ArtifactRef:
        """Keep a blob and give its reference; one that is there already is not written again."""
        ...

    async def get(self, digest: str) -> bytes:
        """Give a blob. Raises ArtifactMissing, and ArtifactCorrupt when its hash differs."""
        ...

    async def create(self, name: str, data: bytes) -> bool:
        """Keep a value under a name that has none; False, and nothing written, where it has one."""
        ...

    async def read(self, name: str) -> bytes | None:
        """Give the value of a name, None where it has none."""
        ...

    async def replace(self, name: str, data: bytes) -> None:
        """Set the value of a name; a reader sees the old one or the new one, whole."""
        ...

    async def list(self, prefix: str = "") -> list[str]:
        """List the names that begin with `prefix`, sorted."""
        ...

    async def delete(self, name: str) -> None:
        """Forget a name; one that has no value is no error."""
        ...


class _Files(Protocol):
    """Blocking access to whole files, by relative paths."""

    def read(self, path: str) -> bytes | None: ...

    def create(self, path: str, data: bytes) -> bool: ...

    def replace(self, path: str, data: bytes) -> None: ...

    def walk(self, folder: str) -> Iterator[str]: ...

    def delete(self, path: str) -> None: ...


def open_artifacts(url: str) -> ArtifactStore:
    """Open the store at an fsspec URL, or a folder's path. Nothing is made or asked before it is used."""
    filesystem, path = url_to_fs(url)
    if isinstance(filesystem, LocalFileSystem):
        return FileArtifacts(_LocalFiles(Path(path)))
    return FileArtifacts(_RemoteFiles(filesystem, path.rstrip("/")))


class FileArtifacts:
    """An artifact store over any kind of files."""

    def __init__(self, files: _Files):
        self._files = files

    async def put(self, data: bytes) -> ArtifactRef:
        """Keep a blob and give its reference; a spoilt copy of it is replaced."""
        return await asyncio.to_thread(self._put, data)

    async def get(self, digest: str) -> bytes:
        """Give a blob. Raises ArtifactMissing, and ArtifactCorrupt when its hash differs."""
        path = _blob_path(digest)
        data = await asyncio.to_thread(self._files.read, path)
        if data is None:
            raise ArtifactMissing(digest)
        if await asyncio.to_thread(_digest, data) != digest:
            raise ArtifactCorrupt(digest)
        return data

    async def create(self, name: str, data: bytes) -> bool:
        """Keep a value under a name that has none; False, and nothing written, where it has one."""
        return await asyncio.to_thread(self._files.create, _named_path(name), data)

    async def read(self, name: str) -> bytes | None:
        """Give the value of a name, None where it has none."""
        return await asyncio.to_thread(self._files.read, _named_path(name))

    async def replace(self, name: str, data: bytes) -> None:
        """Set the value of a name; a reader sees the old one or the new one, whole."""
        await asyncio.to_thread(self._files.replace, _named_path(name), data)

    async def list(self, prefix: str = "") -> list[str]:
        """List the names that begin with `prefix`, sorted."""
        return await asyncio.to_thread(_names, self._files, prefix)

    async def delete(self, name: str) -> None:
        """Forget a name; one that has no value is no error."""
        await asyncio.to_thread(self._files.delete, _named_path(name))

    def _put(self, data: bytes) -> ArtifactRef:
        digest = _digest(data)
        path = _blob_path(digest)
        if self._files.read(path) != data:
            self._files.replace(path, data)
        return ArtifactRef(digest=digest, size_bytes=len(data))


def _names(files: _Files, prefix: str) -> list[str]:
    folder = prefix.rpartition("/")[0]
    paths = files.walk(_named_path(folder) if folder else NAMED)
    names = (unquote(path.removeprefix(f"{NAMED}/")) for path in paths)
    return sorted(name for name in names if name.startswith(prefix))


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _blob_path(digest: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise ArtifactMissing(digest)
    value = digest.removeprefix("sha256:")
    return f"{BLOBS}/{value[:2]}/{value[2:]}"


def _named_path(name: str) -> str:
    """Make a path of a name that may hold anything; a dot is escaped, so that no part climbs or hides."""
    parts = [quote(part, safe=" :@=+,").replace(".", "%2E") for part in name.split("/")]
    if any(not 0 < len(part) <= LONGEST_SEGMENT_BYTES for part in parts):
        raise ArtifactNameInvalid(name)
    return "/".join((NAMED, *parts))


class _LocalFiles:
    """A folder. A file appears under its name only when it is whole and on the disk."""

    def __init__(self, root: Path):
        self._root = root

    def read(self, path: str) -> bytes | None:
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError:
            return None

    def create(self, path: str, data: bytes) -> bool:
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
        target = self._root / path
        with self._written(data) as incoming:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(incoming, target)
        _sync_folder(target.parent)

    def walk(self, folder: str) -> Iterator[str]:
        for parent, _, files in os.walk(self._root / folder):
            for name in files:
                yield (Path(parent) / name).relative_to(self._root).as_posix()

    def delete(self, path: str) -> None:
        (self._root / path).unlink(missing_ok=True)

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


class _RemoteFiles:
    """A file system of fsspec, whose writes of whole objects are atomic by nature."""

    # For backends that look before they write; between machines it is their condition on the write that counts.
    _creating = threading.Lock()

    def __init__(self, filesystem: Any, root: str):
        self._filesystem = filesystem
        self._root = root

    def read(self, path: str) -> bytes | None:
        try:
            data: bytes = self._filesystem.cat_file(self._place(path))
        except FileNotFoundError:
            return None
        return data

    def create(self, path: str, data: bytes) -> bool:
        with self._creating:
            try:
                self._make_parents(path)
                self._filesystem.pipe_file(self._place(path), data, mode="create")
            except FileExistsError:
                return False
        return True

    def replace(self, path: str, data: bytes) -> None:
        self._make_parents(path)
        self._filesystem.pipe_file(self._place(path), data)

    def walk(self, folder: str) -> Iterator[str]:
        try:
            found: list[str] = self._filesystem.find(self._place(folder))
        except FileNotFoundError:
            return
        start = f"{self._root.strip('/')}/".lstrip("/")
        yield from (path.lstrip("/").removeprefix(start) for path in found)

    def delete(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(self._place(path))

    def _make_parents(self, path: str) -> None:
        self._filesystem.makedirs(self._place(path).rpartition("/")[0], exist_ok=True)

    def _place(self, path: str) -> str:
        return f"{self._root}/{path}"
