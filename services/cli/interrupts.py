"""Ctrl-C, or SIGTERM, while a run is followed: the first one asks, the second leaves at once."""

import asyncio
import os
import signal

from services.cli.failures import INTERRUPTED, Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""From a terminal, and from a CI system that stops a job."""


class Interrupts:
    """Listens for both signals. Until they are expected, the first one ends the command as it stands.

    Raises Interrupted then.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._command = asyncio.current_task()
        self._expected = False
        self._cancelled = False

    def __enter__(self) -> "Interrupts":
        for each in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(each, self._interrupted)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        for each in SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(each)
        if self._cancelled and isinstance(error, asyncio.CancelledError):
            raise Interrupted("interrupted") from None

    def expect(self) -> None:
        """From now on the first one is kept for whoever waits: what is under way must not be left half done."""
        self._expected = True

    async def wait(self) -> None:
        """Return at the first of them."""
        self.expect()
        await self.asked.wait()

    def _interrupted(self) -> None:
        if self.asked.is_set():
            # Sandboxes die with their parent, and the embedded server stops when its last user is gone.
            os._exit(INTERRUPTED)
        self.asked.set()
        if not self._expected and self._command is not None:
            self._cancelled = True
            self._command.cancel()
