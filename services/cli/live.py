"""The live view: the run drawn again and again on a terminal, setbacks told above it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from events.codec import HistoryEvent
from services.cli.drawing import draw
from services.cli.run_view import RunView
from services.cli.telling import is_setback, told

FRAME_SECONDS = 0.25


class LiveView:
    """Draws a run as it goes on. What it tells of setbacks stays on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._view = RunView()

    def happened(self, event: HistoryEvent, view: RunView) -> None:
        """Draw what changed; tell it, where it is a setback."""
        self._view = view
        if is_setback(event) and view.run is not None:
            for line in told(event, view.run.created_at):
                self._console.print(Text(line, style="yellow"), no_wrap=True, overflow="ellipsis")
        self.refresh()

    def wrote(self, view: RunView) -> None:
        """Show the line with the next frame: agents may write many."""
        self._view = view

    def refresh(self) -> None:
        """Draw the run as it stands now."""
        self._live.update(draw(self._view, datetime.fromtimestamp(time(), UTC)), refresh=True)

    @asynccontextmanager
    async def drawing(self) -> AsyncIterator[None]:
        """Draw a frame every quarter of a second, since time goes on where nothing happens."""
        with self._live:
            frames = asyncio.create_task(self._frames(), name="frames")
            try:
                yield
            finally:
                frames.cancel()
                await asyncio.wait({frames})
                self.refresh()

    async def _frames(self) -> None:
        while True:
            self.refresh()
            await asyncio.sleep(FRAME_SECONDS)
