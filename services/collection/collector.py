"""Collecting now and then, beside the services: nobody waits for it, and no failure of it ends anything."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from time import time

import structlog

from events.log.port import EventLog, LogUnavailable
from projections.database import UNAVAILABLE, Pool, lent
from projections.queries.retention import LIMIT_SECONDS, OpenRuns, TablesBehind, open_runs
from services.artifacts import FileArtifacts
from services.collection.artifacts import StoreOfAnotherLog, collect_artifacts
from services.collection.home import CollectedElsewhere, collect_home, collecting
from services.git.command import GitCommand
from services.settings import Settings

FIRST_SECONDS = 60.0
LOOK_SECONDS = 900.0
EVERY_SECONDS = 6 * 3600.0
MARK = "collected"
MARK_OF_STORE = "collection/done"

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tables:
    """The log, and the read models folded from it: what tells which artifacts are needed."""

    log: EventLog
    pool: Pool


class Collector:
    """Collects from a home, and from the artifact store where there are tables to ask.

    However many processes share them: each is collected from once in a few hours, a home by one of them at a time.
    """

    def __init__(self, settings: Settings, git: GitCommand, store: FileArtifacts, tables: Tables | None) -> None:
        self._settings = settings
        self._git = git
        self._store = store
        self._tables = tables

    async def run(self, stop: asyncio.Event) -> None:
        """Collect until `stop` is set."""
        pause = FIRST_SECONDS
        while not await _is_set(stop, pause):
            pause = LOOK_SECONDS
            collecting_now = asyncio.create_task(self.collect())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({collecting_now, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in (collecting_now, stopping):
                task.cancel()
            await asyncio.wait({collecting_now, stopping})

    async def collect(self) -> None:
        """Collect what is due. What stands in the way is logged, and tried again."""
        for work in (self._from_home, self._from_store):
            try:
                await work()
            except (TablesBehind, CollectedElsewhere) as error:
                logger.info("not collected", reason=str(error))
            except TimeoutError as error:  # it may take longer than it is given every time
                logger.warning("not collected", reason=f"the database: {error}")
            except (LogUnavailable, *UNAVAILABLE) as error:
                logger.info("not collected", reason=repr(error))
            except StoreOfAnotherLog as error:
                logger.warning("artifacts not collected", reason=str(error))
            except Exception as error:  # whatever a disk or a store far away raises
                logger.warning("not collected", error=repr(error))

    async def _from_home(self) -> None:
        home = self._settings.home_folder
        if await asyncio.to_thread(_age, home / MARK) < EVERY_SECONDS:
            return
        open_now = await self._open_runs()
        async with collecting(home, limit_seconds=0):
            done = await collect_home(home, self._git, open_now, unused_days=self._settings.unused_days)
            await asyncio.to_thread((home / MARK).touch)
        logger.info("home collected", folders=len(done.paths), references=len(done.references))

    async def _open_runs(self) -> OpenRuns:
        """Where there are no tables the last use alone tells what is needed, and what is missed is made again."""
        if self._tables is None:
            return OpenRuns()
        async with lent(self._tables.pool, LIMIT_SECONDS) as connection:
            return await open_runs(connection)

    async def _from_store(self) -> None:
        if self._tables is None:
            return
        done_before = await self._store.ages(MARK_OF_STORE)
        if done_before and time() - done_before[0].modified < EVERY_SECONDS:
            return
        done = await collect_artifacts(
            self._store, self._tables.log, self._tables.pool, self._settings.artifact_days
        )
        await self._store.replace(MARK_OF_STORE, b"")
        logger.info("artifacts collected", blobs=done.blobs, size_bytes=done.size_bytes, results=done.results)


def _age(mark: Path) -> float:
    try:
        return time() - mark.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


async def _is_set(event: asyncio.Event, limit_seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), limit_seconds)
    except TimeoutError:
        return False
    return True
