"""Ctrl-C, or SIGTERM, while a run is followed: the first one asks, the second leaves at once."""

import asyncio
import os
import signal

from services.cli.failures import INTERRUPTED

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""From a terminal, and from a CI system that stops a job."""


class Interrupts:
    """Listens for both signals. Until something waits for `asked`, the first one ends the command as it stands."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._command = asyncio.current_task()
        self._awaited = False

    def __enter__(self) -> "Interrupts":
        for each in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(each, self._interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        for each in SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(each)

    async def wait(self) -> None:
        """Return at the first of them."""
        self._awaited = True
        await self.asked.wait()

    def _interrupted(self) -> None:
        if self.asked.is_set():
            # Sandboxes die with their parent, and the embedded server stops when its last user is gone.
            os._exit(INTERRUPTED)
        self.asked.set()
        if not self._awaited and self._command is not None:
            self._command.cancel()
