"""Snapshots: the folded state of a partition at an offset, so that taking over need not fold from 0.

A snapshot is disposable and valid for one version of the code alone: its name carries a digest of the core's
sources. It is read back by an unpickler that knows only the core's own value types, since whoever can write
to the artifact store must not be able to run code here.
"""

import asyncio
import io
import pickle
from collections.abc import AsyncIterator
from dataclasses import dataclass, is_dataclass
from enum import Enum
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import structlog
from msgspec import Struct
from pydantic import BaseModel

import events
from events.history import PartitionState

logger = structlog.get_logger(__name__)


class SnapshotStore(Protocol):
    """Where snapshots are kept."""

    async def read(self, name: str) -> bytes | None:
        """The value of that name, if there is one."""

    async def replace(self, name: str, data: bytes) -> None:
        """Set the value of that name, whole or not at all."""

    async def list(self, prefix: str) -> list[str]:
        """The names that begin so."""

    async def delete(self, name: str) -> None:
        """Forget a name; one that has no value is no error."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state folded from all records before `offset`.

    The last of them stood at `anchor_offset` and has the SHA-256 `anchor_digest`: a log that holds another
    record there is not the log that this state was folded from.
    """

    offset: int
    anchor_offset: int
    anchor_digest: bytes
    state: PartitionState


STORE_SECONDS = 10.0
"""A store that does not answer is waited for no longer: without a snapshot there is more to read, no more."""
KEEPING_SECONDS = 60.0
KEPT = 2
"""Of each partition: where the newest is damaged, or not of this log, the one before may do."""


class Snapshots:
    """The snapshots of one log's partitions.

    Nothing here fails: without a snapshot, taking over reads more, and that is all.
    """

    def __init__(self, store: SnapshotStore, log_name: str) -> None:
        self._store = store
        self._log_name = log_name

    async def newest_first(self, partition: int) -> AsyncIterator[Snapshot]:
        """The partition's snapshots that this version of the code can use."""
        for name in reversed(await self._names(partition)):
            if name.endswith(f"-{core_version()}") and (snapshot := await self._read(name)) is not None:
                yield snapshot

    async def keep(self, partition: int, snapshot: Snapshot) -> None:
        """Keep a snapshot, and let go of those that it makes superfluous.

        They are all but the newest two, of whatever version, and those that are ahead of it: they belong to
        a log that was there before, at the same address.
        """
        data = await asyncio.to_thread(dump_snapshot, snapshot)
        own = f"{self._folder(partition)}{snapshot.offset:020}-{core_version()}"
        try:
            async with asyncio.timeout(KEEPING_SECONDS):
                await self._store.replace(own, data)
        except Exception as error:  # whatever a store far away raises
            logger.warning("snapshot not kept", partition=partition, error=repr(error))
            return
        names = await self._names(partition)
        place = names.index(own) + 1 if own in names else len(names)
        for name in (*names[place:], *names[: max(0, place - KEPT)]):
            await self._forget(name)

    async def _names(self, partition: int) -> list[str]:
        """Oldest first: an offset has the same number of digits everywhere."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return sorted(await self._store.list(self._folder(partition)))
        except Exception as error:  # as above
            logger.warning("snapshots not listed", partition=partition, error=repr(error))
            return []

    async def _read(self, name: str) -> Snapshot | None:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                data = await self._store.read(name)
        except Exception as error:  # as above
            logger.warning("snapshot not read", name=name, error=repr(error))
            return None
        return None if data is None else await asyncio.to_thread(load_snapshot, data)

    async def _forget(self, name: str) -> None:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await self._store.delete(name)
        except Exception as error:  # as above
            logger.warning("snapshot not deleted", name=name, error=repr(error))

    def _folder(self, partition: int) -> str:
        return f"snapshots/{self._log_name}/{partition}/"


@cache
def core_version() -> str:
    """A digest of the sources of `events`: any change of the core makes older snapshots unusable."""
    digest = sha256()
    root = Path(events.__file__).parent
    for source in sorted(root.rglob("*.py")):
        digest.update(str(source.relative_to(root)).encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def dump_snapshot(snapshot: Snapshot) -> bytes:
    """A snapshot as bytes, with a digest in front."""
    parts = (snapshot.offset, snapshot.anchor_offset, snapshot.anchor_digest, snapshot.state)
    body = pickle.dumps(parts, protocol=5)
    return sha256(body).digest() + body


def load_snapshot(data: bytes) -> Snapshot | None:
    """The snapshot, or None where the bytes are damaged or hold what no snapshot holds."""
    digest, body = data[:32], data[32:]
    if sha256(body).digest() != digest:
        return None
    try:
        snapshot = Snapshot(*_ValuesOnly(io.BytesIO(body)).load())
    except Exception as error:  # bytes that are no pickle of ours make the library raise almost anything
        logger.warning("snapshot not usable", error=repr(error))
        return None
    return snapshot if isinstance(snapshot.state, PartitionState) else None


_VALUES = {
    ("immutables._map", "Map"),
    ("immutables", "Map"),
    ("datetime", "datetime"),
    ("datetime", "timezone"),
    ("datetime", "timedelta"),
    ("copyreg", "__newobj__"),
    ("pydantic_core._pydantic_core", "TzInfo"),
}


class _ValuesOnly(pickle.Unpickler):
    """Knows the classes of the core's values, and no other name."""

    def find_class(self, module_name: str, name: str) -> Any:
        if module_name.startswith("events."):
            found = getattr(import_module(module_name), name)
            if isinstance(found, type) and found.__module__ == module_name and _is_value(found):
                return found
        elif (module_name, name) in _VALUES:
            return super().find_class(module_name, name)
        raise pickle.UnpicklingError(f"{module_name}.{name} is no value of the core")


def _is_value(found: type) -> bool:
    return is_dataclass(found) or issubclass(found, Struct | BaseModel | Enum)
