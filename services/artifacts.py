"""The artifact store: what is too big for an event, by the hash of its content, and a few values by name."""

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, unquote

from events.families.base import ArtifactRef
from services.artifact_files import INCOMING, Files, LocalFiles, RemoteFiles, folder_of

BLOBS = "blobs"
NAMED = "named"
COPIES = "copies"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LONGEST_SEGMENT_BYTES = 250
DAY_SECONDS = 86_400.0
RELIED_ON_SECONDS = 0.5 * DAY_SECONDS
"""A blob that was written longer ago is written again by whoever puts it: a collector may have chosen it."""
GRACE_SECONDS = 3 * DAY_SECONDS
"""What was written since then is never collected: the event that names it may be on its way."""
SAME_SECONDS = 2.0

T = TypeVar("T")
THREADS = 8


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


@dataclass(frozen=True, slots=True, order=True)
class KeptName:
    """A name that has a value, and when it was given it, in seconds since the epoch."""

    name: str
    modified: float


class ArtifactStore(Protocol):
    """Blobs by content, which never change, and values by name, which are created once or replaced whole."""

    async def put(self, data: bytes) -> ArtifactRef:
        """Keep a blob and give its reference; one that was written lately is not written again."""
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


@dataclass(frozen=True, slots=True)
class KeptBlob:
    """One file that holds a blob: where, of what digest, how large, written when (seconds since the epoch)."""

    path: str
    digest: str
    size_bytes: int
    modified: float


def open_artifacts(url: str) -> "FileArtifacts":
    """Open the store at an fsspec URL, or a folder's path. Nothing is made or asked before it is used."""
    if (folder := folder_of(url)) is not None:
        return FileArtifacts(LocalFiles(folder))
    # Only where it is needed: it brings much with it.
    from fsspec.core import url_to_fs

    filesystem, path = url_to_fs(url)
    return FileArtifacts(RemoteFiles(filesystem, path.rstrip("/")))


class FileArtifacts:
    """An artifact store over any kind of files."""

    def __init__(self, files: Files):
        self._files = files
        # Its own: a store that hangs must not take the threads by which names are resolved and readiness is shown.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="artifacts")

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def put(self, data: bytes) -> ArtifactRef:
        """Keep a blob and give its reference; a spoilt copy of it is replaced."""
        return await self._in_thread(self._put, data)

    async def get(self, digest: str) -> bytes:
        """Give a blob. Raises ArtifactMissing, and ArtifactCorrupt when its hash differs."""
        return await self._in_thread(self._get, digest)

    async def create(self, name: str, data: bytes) -> bool:
        """Keep a value under a name that has none; False, and nothing written, where it has one."""
        return await self._in_thread(self._files.create, _named_path(name), data)

    async def read(self, name: str) -> bytes | None:
        """Give the value of a name, None where it has none."""
        return await self._in_thread(self._files.read, _named_path(name))

    async def replace(self, name: str, data: bytes) -> None:
        """Set the value of a name; a reader sees the old one or the new one, whole."""
        await self._in_thread(self._files.replace, _named_path(name), data)

    async def list(self, prefix: str = "") -> list[str]:
        """List the names that begin with `prefix`, sorted."""
        return await self._in_thread(_names, self._files, prefix)

    async def delete(self, name: str) -> None:
        """Forget a name; one that has no value is no error."""
        await self._in_thread(self._files.delete, _named_path(name))

    async def blobs(self) -> Sequence[KeptBlob]:
        """Every file that holds a blob, in no order."""
        return await self._in_thread(lambda: [*_kept(self._files, BLOBS), *_kept(self._files, COPIES)])

    async def drop(self, blob: KeptBlob) -> bool:
        """Remove a file of `blobs`; False where it is gone, or was written anew since it was listed."""
        return await self._in_thread(self._drop, blob)

    async def is_whole(self, blob: KeptBlob) -> bool:
        """Whether a file of `blobs` holds what its name says."""
        data = await self._in_thread(self._files.read, blob.path)
        return data is not None and await self._in_thread(_digest, data) == blob.digest

    async def ages(self, prefix: str) -> Sequence[KeptName]:
        """The names that begin with `prefix`, sorted, with the time of their values."""
        return await self._in_thread(lambda: sorted(_kept_names(self._files, prefix)))

    async def clear_incoming(self, before: float) -> int:
        """Remove what killed writers left before that moment; returns how many files."""
        return await self._in_thread(_clear_incoming, self._files, before)

    def _put(self, data: bytes) -> ArtifactRef:
        digest = _digest(data)
        path = _blob_path(digest)
        written_at = self._files.modified(path)
        if written_at is None or self._files.read(path) != data:
            self._files.replace(path, data)
        if written_at is not None and not _is_fresh(written_at):
            self._keep_copy(digest, data)
        return ArtifactRef(digest=digest, size_bytes=len(data))

    def _keep_copy(self, digest: str, data: bytes) -> None:
        """Write a blob under a name that no collector has listed: the file it has may go at any moment."""
        folder = _copies_folder(digest)
        if not any(_is_fresh(copy.modified) for copy in self._files.details(folder)):
            self._files.replace(f"{folder}/{secrets.token_hex(8)}", data)

    def _get(self, digest: str) -> bytes:
        spoilt = False
        for path in self._paths(digest):
            data = self._files.read(path)
            if data is not None and _digest(data) == digest:
                return data
            spoilt = spoilt or data is not None
        raise ArtifactCorrupt(digest) if spoilt else ArtifactMissing(digest)

    def _paths(self, digest: str) -> Iterator[str]:
        """Where a blob may be; the copies are looked for only when they are needed."""
        yield _blob_path(digest)
        yield from self._files.walk(_copies_folder(digest))

    def _drop(self, blob: KeptBlob) -> bool:
        modified = self._files.modified(blob.path)
        # Stores tell the time of a file that they list more or less exactly than that of one that is asked for.
        if modified is None or modified > blob.modified + SAME_SECONDS:
            return False
        self._files.delete(blob.path)
        return True


def _kept(files: Files, folder: str) -> Iterator[KeptBlob]:
    for found in files.details(folder):
        parts = found.path.split("/")
        value = parts[1] if folder == COPIES else "".join(parts[1:])
        if len(parts) == 3 and DIGEST.fullmatch(f"sha256:{value}"):
            yield KeptBlob(found.path, f"sha256:{value}", found.size_bytes, found.modified)


def _is_fresh(written_at: float) -> bool:
    return time.time() - written_at < RELIED_ON_SECONDS


def _names(files: Files, prefix: str) -> list[str]:
    names = map(_name_at, files.walk(_folder_of(prefix)))
    return sorted(name for name in names if name.startswith(prefix))


def _kept_names(files: Files, prefix: str) -> Iterator[KeptName]:
    for found in files.details(_folder_of(prefix)):
        if (name := _name_at(found.path)).startswith(prefix):
            yield KeptName(name, found.modified)


def _folder_of(prefix: str) -> str:
    folder = prefix.rpartition("/")[0]
    return _named_path(folder) if folder else NAMED


def _name_at(path: str) -> str:
    return unquote(path.removeprefix(f"{NAMED}/"))


def _clear_incoming(files: Files, before: float) -> int:
    left = [found.path for found in files.details(INCOMING) if found.modified < before]
    for path in left:
        files.delete(path)
    return len(left)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _blob_path(digest: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise ArtifactMissing(digest)
    value = digest.removeprefix("sha256:")
    return f"{BLOBS}/{value[:2]}/{value[2:]}"


def _copies_folder(digest: str) -> str:
    return f"{COPIES}/{digest.removeprefix('sha256:')}"


def _named_path(name: str) -> str:
    """Make a path of a name that may hold anything; a dot is escaped, so that no part climbs or hides."""
    parts = [quote(part, safe=" :@=+,").replace(".", "%2E") for part in name.split("/")]
    if any(not 0 < len(part) <= LONGEST_SEGMENT_BYTES for part in parts):
        raise ArtifactNameInvalid(name)
    return "/".join((NAMED, *parts))
