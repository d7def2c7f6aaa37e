"""What became of a submitted record, and waiting until every reader can see it."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

import structlog

from events.catalogue import Topic
from projections.answers import ANSWERS, AnswerRow, Outcome, command_key
from projections.catalogue import READERS
from projections.database import CHANNEL, UNAVAILABLE, Connection, Pool, lent
from projections.queries.reading import rows

POLL_SECONDS = 1.0
NOTICES = "notices"
TABLES = ("runs", "tiers", "phases", "attempts", "timeline", "metrics", "rejections")
"""What a reply from the tables alone promises; one that promises files adds `run_files`."""

logger = structlog.get_logger(__name__)

_ANSWER = "WHERE command = $1 AND run_id = $2 ORDER BY rejected, partition, log_offset LIMIT 1"

_USES = "SELECT DISTINCT run_id FROM {table} WHERE command = $1 ORDER BY run_id"

_PASSED = """
SELECT count(*) FROM projection_checkpoints
WHERE topic = $3 AND partition = $4 AND next_offset > $5
  AND (projection, version) IN (SELECT * FROM unnest($1::text[], $2::int[]))
"""


async def find_answer(
    connection: Connection, project: str, run_id: str, source: str, event_id: str
) -> AnswerRow | None:
    """The answer to a record, if it stands already: the first one, and an admission before a refusal."""
    found = await rows(connection, ANSWERS, _ANSWER, command_key(project, source, event_id), run_id)
    return found[0] if found else None


async def runs_under(connection: Connection, project: str, source: str, event_id: str) -> list[str]:
    """The runs for which an emitter has used an id: one, unless it uses it again for another run."""
    statement = _USES.format(table=ANSWERS.table)
    return [row["run_id"] for row in await connection.fetch(statement, command_key(project, source, event_id))]


async def is_visible(connection: Connection, answer: AnswerRow, projections: Iterable[str]) -> bool:
    """Whether all these projections, as far as they read its topic, have passed the answer."""
    topic = Topic.REJECTIONS if answer.rejected else Topic.EVENTS
    readers = {name: READERS[name].version for name in projections if topic in READERS[name].topics}
    place = (topic, answer.partition, answer.decided_offset)
    passed: int = await connection.fetchval(_PASSED, list(readers), list(readers.values()), *place)
    return passed == len(readers)


class Alarms(Protocol):
    """Where it is said that somebody must look at something."""

    def alarm(self, key: str, message: str) -> None:
        """Somebody must look at this."""

    def clear(self, key: str) -> None:
        """The alarm's cause is gone."""


class Changes:
    """Wakes those who wait for the tables to change. One connection listens for all of a process.

    Whoever waits looks again every `POLL_SECONDS` in any case: a notice can be lost with its connection.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._came = asyncio.Event()

    async def listen(self, alarms: Alarms) -> None:
        """Listen until cancelled; a lost connection is made anew.

        Any other fault is an alarm, and tried again: meanwhile those who wait look by the clock alone.
        """
        while True:
            try:
                await self._listen(alarms)
            except UNAVAILABLE as error:
                logger.info("not listening to the tables", error=str(error))
            except Exception as error:
                logger.exception("listening to the tables failed")
                alarms.alarm(NOTICES, f"notices of the tables are not heard: {type(error).__name__}: {error}")
            self._notify()
            await asyncio.sleep(POLL_SECONDS)

    async def _listen(self, alarms: Alarms) -> None:
        async with lent(self._pool) as connection:
            gone = asyncio.Event()

            def left(_: object) -> None:
                gone.set()

            connection.add_termination_listener(left)
            await connection.add_listener(CHANNEL, self._heard)
            alarms.clear(NOTICES)
            self._notify()
            await gone.wait()

    def _heard(self, connection: object, process: int, channel: str, payload: object) -> None:
        self._notify()

    def _notify(self) -> None:
        self._came.set()
        self._came = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Set at the next change. Take it before you look, so that no change falls in between."""
        return self._came

    async def answer(
        self,
        project: str,
        run_id: str,
        source: str,
        event_id: str,
        *,
        projections: Iterable[str] = TABLES,
        wait_seconds: float = 10.0,
    ) -> AnswerRow | None:
        """The answer to a record, once it is decided and all named projections show it; None in time."""
        names = tuple(projections)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                return await self._answered((project, run_id, source, event_id), names)
        return None

    async def _answered(self, record: tuple[str, str, str, str], names: tuple[str, ...]) -> AnswerRow:
        while True:
            change = self.next()
            with suppress(*UNAVAILABLE):
                async with lent(self._pool) as connection:
                    answer = await find_answer(connection, *record)
                    decided = answer is not None and answer.outcome != Outcome.UNDECIDED
                    if answer is not None and decided and await is_visible(connection, answer, names):
                        return answer
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await change.wait()
