"""Submitting commands, and remembering that the log did not take one."""

from time import monotonic

from events.catalogue import Topic
from events.log.port import EventLog, LogUnavailable, NewRecord

REMEMBERED_SECONDS = 10.0
"""So long nobody is told that the API is ready; then it is tried again whether the log takes something."""


class Submitting:
    """A log whose disk is full answers every question, and takes nothing. Only whoever submits finds out."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._refused: tuple[float, str] | None = None

    @property
    def trouble(self) -> str | None:
        """Why the last command was not taken, for a while after that."""
        if self._refused is None or monotonic() - self._refused[0] > REMEMBERED_SECONDS:
            return None
        return self._refused[1]

    async def submit(self, record: NewRecord) -> None:
        """Submit a command. Raises LogUnavailable."""
        try:
            await self._log.submit(Topic.COMMANDS, [record])
        except LogUnavailable as error:
            self._refused = (monotonic(), str(error))
            raise
        self._refused = None
