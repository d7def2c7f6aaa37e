"""How long after an event was written the read model shows it."""

import asyncio
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from projections.database import CHANNEL
from projections.queries.answers import TABLES

LATE_SECONDS = 30.0
_REACHED = """
SELECT partition, min(next_offset) AS reached FROM projection_checkpoints
WHERE topic = 'autopack.events' AND projection = ANY($1) GROUP BY partition
"""


@dataclass(slots=True)
class Watched:
    """When the tables were seen to have come how far, by partition: offsets and seconds, both ascending."""

    offsets: dict[int, list[int]] = field(default_factory=dict)
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def note(self, partition: int, reached: int, at: float) -> None:
        """At this time every record before an offset was visible."""
        known = self.offsets.setdefault(partition, [])
        if not known or known[-1] < reached:
            known.append(reached)
            self.seconds.setdefault(partition, []).append(at)

    def delays(self, records: Iterable[tuple[int, int, float]]) -> Sequence[float]:
        """Seconds from the log's time of each record to when it was seen in the tables, if it was."""
        found = []
        for partition, offset, recorded_at in records:
            place = bisect_right(self.offsets.get(partition, ()), offset)
            if place < len(self.offsets.get(partition, ())):
                found.append(max(0.0, self.seconds[partition][place] - recorded_at))
        return found

    async def until_seen(self, records: Sequence[tuple[int, int, float]]) -> None:
        """Wait until all of these have been seen. Raises TimeoutError: without them a figure would be too good."""
        async with asyncio.timeout(LATE_SECONDS):
            while len(self.delays(records)) < len(records):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def watching(database_url: str) -> AsyncIterator[Watched]:
    """Watch the tables from now on, woken as the API is."""
    connection, watched, changed = await asyncpg.connect(database_url), Watched(), asyncio.Event()
    asking = await asyncpg.connect(database_url)

    async def look() -> None:
        while True:
            await changed.wait()
            changed.clear()
            rows = await asking.fetch(_REACHED, list(TABLES))
            now = time.time()
            for row in rows:
                watched.note(row["partition"], row["reached"], now)

    await connection.add_listener(CHANNEL, lambda *_: changed.set())
    looking = asyncio.create_task(look())
    try:
        yield watched
    finally:
        looking.cancel()
        await asyncio.wait({looking})
        await connection.close()
        await asking.close()
