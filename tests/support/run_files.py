"""Run files in tests: a store for their patches, and what is in their folders."""

import asyncio
from pathlib import Path

from projections.database import Pool
from projections.lane import Lane
from projections.run_files.keeper import BlobLost
from support.histories import ListLog
from support.scenario import MENDED, PATCH
from support.tables import EVENTS, HISTORY_READERS


class Blobs:
    """A store of patches and logs."""

    def __init__(self, **by_digest: bytes) -> None:
        self.content = {PATCH.digest: b"diff one\n", MENDED.digest: b"diff two\n"} | by_digest
        self.fetched: list[str] = []

    async def get(self, digest: str) -> bytes:
        self.fetched.append(digest)
        if digest not in self.content:
            raise BlobLost(digest)
        return self.content[digest]


class BlobsAway(Blobs):
    """The same store, out of reach."""

    async def get(self, digest: str) -> bytes:
        raise ConnectionError("the store is away")


class BlobsHung(Blobs):
    """The same store, which does not answer."""

    async def get(self, digest: str) -> bytes:
        await asyncio.Event().wait()
        return b""


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def visible(folder: Path) -> set[str]:
    return {name for name in files_of(folder) if not name.startswith(".")}


async def fold(pool: Pool, log: ListLog, number: int | None = None) -> None:
    """Have the tables know all records of the log, or so many."""
    start = await pool.fetchval("SELECT min(next_offset) FROM projection_checkpoints WHERE projection = 'runs'")
    await Lane(pool, EVENTS, start, HISTORY_READERS).take(log.records[EVENTS][:number])
