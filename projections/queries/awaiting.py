"""Waiting for what became of submitted records, until every reader can see it."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from projections.answers import AnswerRow, Outcome, command_key
from projections.database import UNAVAILABLE, Connection, Pool, lent
from projections.pausing import until_set
from projections.queries.answers import TABLES, Asked, find_answers, read_offsets, readers_of
from projections.queries.changes import POLL_SECONDS, Changes

logger = structlog.get_logger(__name__)

LOOK_SECONDS = 4.0
"""No look, two statements by their keys, takes longer: then its connection is cut, and the next takes another."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    asked: Asked
    projections: tuple[str, ...]
    answer: asyncio.Future[AnswerRow]


class Answers:
    """Looks into the tables for all who wait, whenever these change: a look costs the same for one as for fifty.

    It looks every `POLL_SECONDS` in any case: a notice can be lost with its connection.
    """

    def __init__(self, pool: Pool, changes: Changes) -> None:
        self._pool = pool
        self._changes = changes
        self._waiting: set[_Waiting] = set()
        self._came = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def wait(
        self,
        project: str,
        run_id: str,
        source: str,
        event_id: str,
        *,
        projections: Iterable[str] = TABLES,
        limit_seconds: float = 10.0,
    ) -> AnswerRow | None:
        """The answer to a record, once it is decided and all named projections show it; None in time."""
        future: asyncio.Future[AnswerRow] = asyncio.get_running_loop().create_future()
        waiting = _Waiting((command_key(project, source, event_id), run_id), tuple(projections), future)
        self._waiting.add(waiting)
        self._came.set()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_for_all())
        try:
            async with asyncio.timeout(limit_seconds):
                return await future
        except TimeoutError:
            return None
        finally:
            self._waiting.discard(waiting)
            if not self._waiting and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _look_for_all(self) -> None:
        """Until nobody waits any more, or until it fails: then all who wait are told why."""
        own = asyncio.current_task()
        try:
            # The library may swallow a cancellation that meets the end of a connection.
            while self._looking is own:
                self._came.clear()
                change = self._changes.next()
                with suppress(TimeoutError, *UNAVAILABLE):
                    async with lent(self._pool, LOOK_SECONDS) as connection:
                        await self._look(connection, [one for one in self._waiting if not one.answer.done()])
                await until_set(POLL_SECONDS, change, self._came)
        except Exception as error:
            logger.exception("looking for answers failed")
            if self._looking is own:
                self._looking = None
            for one in self._waiting:
                if not one.answer.done():
                    one.answer.set_exception(error)

    async def _look(self, connection: Connection, waiting: Sequence[_Waiting]) -> None:
        answers = await find_answers(connection, {one.asked for one in waiting})
        decided = {asked: answer for asked, answer in answers.items() if answer.outcome != Outcome.UNDECIDED}
        needed = {one: readers_of(decided[one.asked], one.projections) for one in waiting if one.asked in decided}
        if not needed:
            return
        offsets = await read_offsets(connection, {reader for readers in needed.values() for reader in readers})
        for one, readers in needed.items():
            answer = decided[one.asked]
            if not one.answer.done() and all(offsets.get(r, 0) > answer.decided_offset for r in readers):
                one.answer.set_result(answer)
