"""Keeps the files of runs up to date with the tables."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog

from events.catalogue import Topic
from events.failpoints import failpoint
from events.log.port import EventLog, LogUnavailable, Place
from projections.catalogue import RUN_FILES
from projections.checkpoints import Overtaken, begin, begin_again, move, stop
from projections.database import UNAVAILABLE, WRITING_SECONDS, Pool, lent
from projections.run_files.changes import Changed, NotBegun, changed_runs
from projections.run_files.documents import Blobs, Content, Page, Records, Text, documents
from projections.run_files.folder import Manifest, forget, look, this_boot, write_files
from projections.run_files.names import run_folder
from projections.run_files.story import read_story

RUNS_AT_ONCE = 50
BLOB_SECONDS = 60.0
"""A store that does not answer is an outage, which is told, and tried again."""

logger = structlog.get_logger(__name__)


class BlobLost(Exception):
    """The blob was collected, is lost, or is not what its digest says: asking again does not help."""


class BlobsUnavailable(Exception):
    """A blob cannot be read at the moment."""


class BlobReader(Protocol):
    """Gives patches and logs by their digests."""

    async def get(self, digest: str) -> bytes:
        """The blob. Raises BlobLost; whatever else it raises is taken for an outage."""


class FilesStopped(Exception):
    """The files of a run cannot be written; those behind it wait."""


class RunFiles:
    """The last of the projections: it reads the tables of the others, so a rebuild of theirs comes first."""

    def __init__(self, pool: Pool, log: EventLog, blobs: BlobReader, root: Path, default_project: str) -> None:
        self._pool = pool
        self._log = log
        self._blobs = blobs
        self._root = root
        self._default_project = default_project

    async def keep(self, partition: int) -> None:
        """Write the files of every run that has changed by now, and move the checkpoint.

        Raises Overtaken, FilesStopped.
        """
        while (changed := await self._changed(partition)) is not None:
            for project, run_id in changed.runs:
                await self._write(partition, changed.start, project, run_id)
            await self._move(partition, changed)
            if changed.is_all:
                return

    async def rebuild(self, partition: int) -> int:
        """Write the files of every run anew, whatever their folders say of themselves; how many runs those are.

        The checkpoint begins at 0 again, so what is left undone here is done by a projector. Raises FilesStopped.
        """
        async with lent(self._pool, WRITING_SECONDS) as connection:
            await begin_again(connection, RUN_FILES, Place(Topic.EVENTS, partition))
        start = count = 0
        while (changed := await self._changed(partition, start)) is not None:
            for project, run_id in changed.runs:
                await asyncio.to_thread(forget, self._folder(project, run_id))
                await self._write(partition, start, project, run_id)
            with suppress(Overtaken):  # A projector that is at work meanwhile moves the checkpoint itself.
                await self._move(partition, changed)
            start, count = changed.end, count + len(changed.runs)
        return count

    async def _changed(self, partition: int, start: int | None = None) -> Changed | None:
        async with lent(self._pool, WRITING_SECONDS) as connection:
            with suppress(NotBegun):
                return await changed_runs(connection, partition, RUNS_AT_ONCE, start)
            await begin(connection, [RUN_FILES], Place(Topic.EVENTS, partition))
            return await changed_runs(connection, partition, RUNS_AT_ONCE, start)

    async def _move(self, partition: int, changed: Changed) -> None:
        async with lent(self._pool, WRITING_SECONDS) as connection:
            await move(connection, RUN_FILES, Place(Topic.EVENTS, partition), changed.start, changed.end)

    async def _write(self, partition: int, start: int, project: str, run_id: str) -> None:
        try:
            await self.write(project, run_id)
        except (LogUnavailable, *UNAVAILABLE):
            raise
        except Exception as error:
            message = f"run {project}/{run_id}: {type(error).__name__}: {error}"
            async with lent(self._pool, WRITING_SECONDS) as connection:
                await stop(connection, RUN_FILES, Place(Topic.EVENTS, partition), start, message)
            raise FilesStopped(message) from error

    async def write(self, project: str, run_id: str) -> None:
        """Write the files of one run, where all its rows know more than its folder."""
        async with lent(self._pool, WRITING_SECONDS) as connection:
            story, reached = await read_story(connection, project, run_id)
        run = story.view.run
        if run.last_offset >= reached:
            return
        wanted = documents(story)
        stamps = {path: content.stamp for path, content in wanted.items()}
        folder = self._folder(project, run_id)
        known, current = await asyncio.to_thread(look, folder, stamps)
        origin = f"{run.project}/{run.run_id} {run.source} {run.event_id}"
        if known.knows(origin, run.sequence):
            return
        files = await self._files({path: one for path, one in wanted.items() if path not in current})
        there = {path: stamp for path, stamp in stamps.items() if path in current or path in files}
        # Each event of a run that goes on writes its files anew, so only those of an ended one are synced.
        boot = this_boot() if run.completed_at is None else ""
        manifest = Manifest(origin, run.sequence, stamps=there, boot=boot)
        await asyncio.to_thread(write_files, folder, files, manifest)
        failpoint("files-renamed")

    def _folder(self, project: str, run_id: str) -> Path:
        return run_folder(self._root, self._default_project, project, run_id)

    async def _files(self, wanted: Mapping[str, Content]) -> dict[str, bytes]:
        """What is to be written, without the files whose content is lost."""
        found = {path: await self._content(path, content) for path, content in wanted.items()}
        return {path: data for path, data in found.items() if data is not None}

    async def _content(self, path: str, content: Content) -> bytes | None:
        match content:
            case Text():
                return content.content
            case Page():
                return await _made(content)
            case Blobs():
                return await self._joined(path, content)
            case Records():
                return await self._lines(content)

    async def _joined(self, path: str, blobs: Blobs) -> bytes | None:
        """A lost blob costs its own file, or leaves it as it is; the next event tries again."""
        try:
            return b"".join([await self._blob(digest) for digest in blobs.digests])
        except BlobLost as error:
            logger.warning("run file without its content", file=path, error=str(error))
            return None
        except Exception as error:
            raise BlobsUnavailable(f"{path}: {type(error).__name__}: {error}") from error

    async def _blob(self, digest: str) -> bytes:
        async with asyncio.timeout(BLOB_SECONDS):
            return await self._blobs.get(digest)

    async def _lines(self, records: Records) -> bytes:
        wanted = set(records.offsets)
        lines: list[bytes] = []
        position = min(wanted, default=0)
        while wanted and position <= max(wanted):
            batch = await self._log.read(Place(Topic.EVENTS, records.partition), position, max(wanted) + 1)
            if not batch:
                break
            lines.extend(record.value for record in batch if record.offset in wanted)
            position = batch[-1].offset + 1
        return b"".join(line + b"\n" for line in lines)


async def _made(page: Page) -> bytes:
    """The page. Others on the loop come to their turn, however many pages there are, and however long."""
    if page.is_long:
        return await asyncio.to_thread(page.content)
    await asyncio.sleep(0)
    return page.content()
