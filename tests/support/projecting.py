"""A projector at work in tests, and how its projections stand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from events.catalogue import Topic
from events.history import HistoryRecord
from events.log.port import NewRecord
from projections.database import Pool
from projections.projection import Entry, Projection
from projections.projector import Projector
from projections.queries.runs import RunView, read_run
from projections.status import Standing, Status, read_status
from support.tables import (
    HISTORY_READERS,
)


@dataclass
class Heard:
    """What the projector says of itself."""

    is_ready: bool = False
    troubles: list[str] = field(default_factory=list)
    alarms: dict[str, str] = field(default_factory=dict)
    hindrances: dict[str, str] = field(default_factory=dict)

    def ready(self) -> None:
        self.is_ready = True

    def unavailable(self, trouble: str) -> None:
        self.is_ready = False
        self.troubles.append(trouble)

    def alarm(self, key: str, message: str) -> None:
        self.alarms[key] = message

    def clear(self, key: str) -> None:
        self.alarms.pop(key, None)

    def hinder(self, key: str, trouble: str) -> None:
        self.hindrances[key] = trouble

    def unhinder(self, key: str) -> None:
        self.hindrances.pop(key, None)


@asynccontextmanager
async def running(projector: Projector) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(projector.run(stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


async def until(condition: Callable[[], Awaitable[bool]], limit_seconds: float = 15) -> None:
    async with asyncio.timeout(limit_seconds):
        while not await condition():
            await asyncio.sleep(0.01)


async def status(pool: Pool, log: Any) -> Status:
    async with pool.acquire() as connection:
        return await read_status(connection, log)


async def view(pool: Pool, run_id: str = "run-1") -> RunView:
    async with pool.acquire() as connection:
        return await read_run(connection, run_id)


def new(records: Sequence[HistoryRecord]) -> list[NewRecord]:
    return [NewRecord(r.project, r.value, {"type": r.type_name.encode()}) for r in records]


def at(standings: Status, name: str, topic: Topic = Topic.EVENTS) -> Any:
    return next(s for s in standings.projections if (s.projection, s.topic) == (name, topic))


def sabotaged(projection: Projection[Any], at_type: type) -> Projection[Any]:
    """The projection, unable to fold one type of event."""

    def project(rows: Any, entry: Entry) -> Any:
        if isinstance(entry.data, at_type):
            raise RuntimeError("cannot fold this")
        return projection.project(rows, entry)

    return replace(projection, project=project)


def with_one(one: Projection[Any]) -> list[Projection[Any]]:
    return [one if p.name == one.name else p for p in HISTORY_READERS]


async def stopped(pool: Pool, log: Any, name: str) -> bool:
    found = [s for s in (await status(pool, log)).projections if s.projection == name]
    return any(s.standing is Standing.STOPPED for s in found)


async def ended(pool: Pool) -> bool:
    found = await pool.fetchval("SELECT to_regclass('runs_v2') IS NOT NULL")
    return bool(found and await pool.fetchval("SELECT count(*) FROM runs_v2 WHERE state = 'DONE_SUCCESS'"))


async def is_alarmed(heard: Heard, key: str) -> bool:
    return key in heard.alarms


async def passed(pool: Pool, name: str, offset: int) -> bool:
    query = (
        "SELECT min(next_offset) FROM projection_checkpoints WHERE projection = $1 AND topic = 'autopack.events'"
    )
    return (await pool.fetchval(query, name) or 0) >= offset


async def caught_up(pool: Pool, log: Any) -> bool:
    standings = (await status(pool, log)).projections
    return all(s.standing is Standing.FOLLOWING for s in standings if s.projection != "run_files")


async def is_ready(heard: Heard) -> bool:
    return heard.is_ready


async def is_troubled(heard: Heard) -> bool:
    return bool(heard.troubles)
