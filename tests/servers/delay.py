"""A slow network: what is written arrives later, in its order."""

import asyncio
from collections import deque
from typing import Protocol


class Writer(Protocol):
    """The end of a connection that is written to."""

    def write(self, data: bytes) -> None:
        """Send this."""

    def close(self) -> None:
        """End the connection."""


class Delayed:
    """Sends what is written to it so many seconds later. What is on its way when it is closed is lost."""

    def __init__(self, writer: asyncio.StreamWriter, seconds: float) -> None:
        self._writer = writer
        self._seconds = seconds
        self._on_its_way: deque[bytes] = deque()

    def write(self, data: bytes) -> None:
        """Send this later."""
        self._on_its_way.append(data)
        asyncio.get_running_loop().call_later(self._seconds, self._arrive)

    def close(self) -> None:
        """End the connection."""
        self._writer.close()

    def _arrive(self) -> None:
        data = self._on_its_way.popleft()  # the oldest, whichever call this is
        if not self._writer.is_closing():
            self._writer.write(data)


def delayed(writer: asyncio.StreamWriter, seconds: float) -> Writer:
    """The writer itself, where there is no delay."""
    return Delayed(writer, seconds) if seconds else writer
