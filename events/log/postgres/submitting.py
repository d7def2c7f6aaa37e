"""Submitting in groups: what comes while a statement runs is written by the next one, whoever it is from."""

import asyncio
from collections import deque
from collections.abc import Sequence

from events.catalogue import Topic
from events.log.port import LogUnavailable, NewRecord, Place
from events.log.postgres.notifier import Notifier
from events.log.postgres.rows import columns
from events.log.postgres.server import Pool
from events.log.postgres.statements import SUBMIT
from events.log.postgres.wakeups import sign_of

GROUP_RECORDS = 500
GROUP_BYTES = 4 * 1024 * 1024

Waiting = tuple[Sequence[NewRecord], "asyncio.Future[int]"]


class Submitter:
    """Writes records to places, at one place one statement at a time.

    A submission is written whole or not at all. One that nobody waits for any more may still be written.
    """

    def __init__(self, durable: Pool, lazy: Pool, notifier: Notifier) -> None:
        self._durable = durable
        self._lazy = lazy
        self._notifier = notifier
        self._waiting: dict[Place, deque[Waiting]] = {}
        self._writing: dict[Place, asyncio.Task[None]] = {}

    async def submit(self, place: Place, records: Sequence[NewRecord]) -> int:
        """Write records behind one another; the offset of the first. Raises LogUnavailable."""
        written: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(place, deque()).append((records, written))
        if place not in self._writing:
            self._writing[place] = asyncio.create_task(self._write_all(place), name=f"submitting-{place.topic}")
        return await written

    async def close(self) -> None:
        """Write no more. Who still waits is told so, also where the writing had not begun."""
        writing = list(self._writing.values())
        for task in writing:
            task.cancel()
        if writing:
            await asyncio.wait(writing)
        for waiting in self._waiting.values():
            _fail(waiting, LogUnavailable("the log has been closed"))

    async def _write_all(self, place: Place) -> None:
        """Until nobody waits. Whatever ends it, nobody is left waiting."""
        waiting = self._waiting[place]
        try:
            while waiting:
                await self._write_group(place, _next_group(waiting))
        finally:
            del self._writing[place], self._waiting[place]
            _fail(waiting, LogUnavailable("the log has been closed"))

    async def _write_group(self, place: Place, group: Sequence[Waiting]) -> None:
        try:
            start = await self._write(place, [record for records, _ in group for record in records])
        except LogUnavailable as error:
            _fail(group, error)
        except asyncio.CancelledError:
            _fail(group, LogUnavailable("the log has been closed"))
            raise
        except Exception as error:
            if len(group) == 1:
                _fail(group, error)
                return
            for alone in group:  # the fault of one of them is no fault of the others
                await self._write_group(place, (alone,))
        else:
            for records, written in group:
                if not written.done():
                    written.set_result(start)
                start += len(records)

    async def _write(self, place: Place, records: Sequence[NewRecord]) -> int:
        pool = self._durable if place.topic is Topic.COMMANDS else self._lazy
        doing = f"submitting to {place.topic}"
        (row,) = await pool.fetch(doing, SUBMIT, place.topic.value, place.partition, *columns(records))
        self._notifier.announce([sign_of(place)])
        return int(row["start"])


def _next_group(waiting: deque[Waiting]) -> list[Waiting]:
    """The first that wait, as many as one statement should carry."""
    group: list[Waiting] = []
    records = size_bytes = 0
    while waiting and (not group or (records < GROUP_RECORDS and size_bytes < GROUP_BYTES)):
        group.append(waiting.popleft())
        records += len(group[-1][0])
        size_bytes += sum(len(record.value) for record in group[-1][0])
    return group


def _fail(group: Sequence[Waiting] | deque[Waiting], error: Exception) -> None:
    for _, written in group:
        if not written.done():
            written.set_exception(error)
