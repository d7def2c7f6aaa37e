"""Waiting before trying again: longer each time, never in step with others."""

import asyncio
import random


class Backoff:
    """Pauses that double from `first_seconds` to `most_seconds`, each with a random part."""

    def __init__(self, first_seconds: float = 0.1, most_seconds: float = 5.0) -> None:
        self._next_seconds = first_seconds
        self._most_seconds = most_seconds

    async def pause(self, stop: asyncio.Event | None = None) -> None:
        """Wait, or return at once when `stop` is set."""
        seconds = self._next_seconds * random.uniform(0.5, 1.0)
        self._next_seconds = min(self._next_seconds * 2, self._most_seconds)
        if stop is None:
            await asyncio.sleep(seconds)
            return
        try:
            await asyncio.wait_for(stop.wait(), seconds)
        except TimeoutError:
            return
