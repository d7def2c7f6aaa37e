"""Ctrl-C, or SIGTERM, while a run is followed: the first one asks, the second leaves at once."""

import asyncio
import os
import signal
from typing import NoReturn

from services.cli.failures import INTERRUPTED, Interrupted
from services.cli.output import stderr_console, stdout_console

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""From a terminal, and from a CI system that stops a job."""


def _leave() -> NoReturn:
    """End the process, and nothing else: sandboxes die with it, the embedded server when its last user is gone."""
    try:
        # The live view has hidden the cursor, and does not come to show it again.
        for console in (stdout_console(), stderr_console()):
            console.show_cursor()
    finally:
        os._exit(INTERRUPTED)


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
            _leave()
        self.asked.set()
        if not self._expected and self._command is not None:
            self._cancelled = True
            self._command.cancel()
