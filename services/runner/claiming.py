"""When a claim is submitted: at once where work waits for it, else so that short work carries it along."""

import asyncio

from events.catalogue import Topic
from events.log.port import EventLog, NewRecord
from services.runner.submitting import submit_until_taken

COMPANY_SECONDS = 0.02
"""Work that is done sooner submits its claim with its answer, and the supervisor takes both in one step."""


class Claiming:
    """The claim of one piece of work on its way to the log. It never comes there behind the answer."""

    def __init__(self, log: EventLog, claim: NewRecord) -> None:
        self._log = log
        self._claim = claim
        self._is_leaving = False
        self._later: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def soon(self) -> None:
        """Submit it after a moment, unless it is asked for sooner."""
        self._later = asyncio.get_running_loop().call_later(COMPANY_SECONDS, self._begin)

    async def now(self) -> None:
        """Submit it, if that has not begun; return when the log has it."""
        if not self._is_leaving:
            self.drop()
            self._begin()
        if self._task is not None:
            await asyncio.shield(self._task)

    async def before(self, answer: NewRecord) -> list[NewRecord]:
        """What is to be submitted, so that the claim comes first: with the answer where it still is here."""
        if not self._is_leaving:
            self.drop()
            self._is_leaving = True
            return [self._claim, answer]
        await self.now()
        return [answer]

    def drop(self) -> None:
        """Submit it no more, unless the log has it already."""
        if self._later is not None:
            self._later.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._is_leaving = True
        self._task = asyncio.create_task(self._submit())

    async def _submit(self) -> None:
        await submit_until_taken(self._log, Topic.RESULTS, [self._claim])
