"""Whether those who work know what the history says by now: whoever was away for a while does not."""

import asyncio
from time import monotonic

from services.runner.following import Following

AWAY_SECONDS = 2.0


class Abreast:
    """When all who work in a partition were last told what the history says of it.

    A process may stand still at any line, and not know that it did: meanwhile its work may have been given to
    others, and answered. All that it waits for in the history is there when it goes on, and none of it read.
    `away_seconds` is how long it may be away: its group must not have given it up by then.
    """

    def __init__(self, away_seconds: float = AWAY_SECONDS) -> None:
        self._away_seconds = away_seconds
        self._looked_at = monotonic()
        self._told_at: dict[int, float] = {}
        self._news = asyncio.Event()

    async def look(self, following: Following) -> None:
        """Before the history is read on: after a while away nothing counts before the end as it is now is reached.

        Raises LogUnavailable.
        """
        now = monotonic()
        if now - self._looked_at > self._away_seconds:
            await following.catch_up()
        self._looked_at = now

    def told(self, following: Following) -> None:
        """All has been told that was read since the look, where it reached the end."""
        caught_up = (followed.partition for followed in following.followed.values() if followed.caught_up)
        self._told_at |= dict.fromkeys(caught_up, self._looked_at)
        self._news.set()
        self._news = asyncio.Event()

    async def until_told(self, partition: int) -> None:
        """Wait until what is known of a partition is not older than a while; mostly it is not."""
        oldest = monotonic() - self._away_seconds
        while self._told_at.get(partition, oldest - 1) < oldest:
            await self._news.wait()
