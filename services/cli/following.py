"""Following a run to its end: its history folded event by event, and whoever watches is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import orjson

from events.codec import HistoryEvent
from events.families.phase import PhaseSkipped
from services.cli.client import Client, Refused
from services.cli.failures import ServiceUnreachable, StreamBroken
from services.cli.records import read_record
from services.cli.run_view import RunView, fold, with_line
from services.cli.telling import is_routine, told

AGAIN_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
STOOD_SECONDS = 5.0
"""A stream that broke off after so long did not break off for what was wrong before."""


class Watcher(Protocol):
    """Shows a run to somebody."""

    def happened(self, event: HistoryEvent, view: RunView) -> None:
        """An event was written; the view holds it already."""
        ...

    def wrote(self, view: RunView) -> None:
        """An agent wrote a line."""
        ...


class Following:
    """A run that is being followed; `view` is what is known of it so far."""

    def __init__(self, client: Client, run_id: str, watcher: Watcher) -> None:
        self._client = client
        self._run_id = run_id
        self._watcher = watcher
        self.view = RunView()

    async def to_the_end(self) -> RunView:
        """Follow until the run has ended. A service that goes away is waited for, a minute at most each time."""
        async with self._listening():
            lost_at: float | None = None
            clock = asyncio.get_running_loop().time
            while not self.view.ended:
                began, before = clock(), self.view.sequence
                try:
                    await self._read()
                except ServiceUnreachable as error:
                    stood = isinstance(error, StreamBroken) and clock() - began > STOOD_SECONDS
                    if lost_at is None or stood or self.view.sequence > before:
                        lost_at = clock()
                    if clock() - lost_at > PATIENCE_SECONDS:
                        raise
                else:
                    lost_at = None
                if not self.view.ended:
                    await asyncio.sleep(AGAIN_SECONDS)
        return self.view

    async def as_it_stands(self) -> RunView:
        """Read what there is, and wait for nothing."""
        await self._read(follow=False)
        return self.view

    async def _read(self, *, follow: bool = True) -> None:
        """Read what follows on what is known, as long as the stream lasts."""
        async for line in self._client.records(self._run_id, self.view.sequence, follow=follow):
            event = read_record(line)
            self.view = fold(self.view, event)
            self._watcher.happened(event, self.view)
            if self.view.ended and follow:
                break

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        listening = asyncio.create_task(self._listen(), name="output")
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.wait({listening})

    async def _listen(self) -> None:
        """Take the lines of agents as long as the run is followed. They are for watching only: while nobody tells
        them, the rest is as good.
        """
        while True:
            with suppress(ServiceUnreachable, Refused):
                async for record in self._client.output(self._run_id):
                    said = orjson.loads(record)
                    if said.get("phase_id") and said.get("lines"):
                        self.view = with_line(self.view, said["phase_id"], said["lines"][-1])
                        self._watcher.wrote(self.view)
            await asyncio.sleep(AGAIN_SECONDS)


class Silent:
    """Watches without a word."""

    def happened(self, event: HistoryEvent, view: RunView) -> None:
        """Nothing is said."""

    def wrote(self, view: RunView) -> None:
        """Nothing is said."""


class Lines:
    """Tells each event in a line of its own, where there is no terminal to draw on."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._skipped_for: str | None = None

    def happened(self, event: HistoryEvent, view: RunView) -> None:
        """Tell the event, unless it only says what is about to be done, or what was said of the phase before."""
        if view.run is None or is_routine(event) or self._is_said(event):
            return
        for line in told(event, view.run.created_at):
            self._say(line)

    def _is_said(self, event: HistoryEvent) -> bool:
        """Whether a phase is skipped for the reason for which another one just was: one end skips them all."""
        data = event.event.data
        before, self._skipped_for = self._skipped_for, data.reason if isinstance(data, PhaseSkipped) else None
        return self._skipped_for is not None and before == self._skipped_for

    def wrote(self, view: RunView) -> None:
        """Lines of agents are kept with the run; here they would drown the rest."""
