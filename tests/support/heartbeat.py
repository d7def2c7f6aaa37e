"""Whether the event loop goes on beside some work."""

import asyncio
import time


class Heartbeat:
    """Beats every 10 ms beside the work, and knows the longest time between two beats, and the longest work in it.

    What the machine gives to others is a pause, and no work of ours.
    """

    longest_pause_seconds = 0.0
    longest_work_seconds = 0.0

    async def __aenter__(self) -> "Heartbeat":
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _beat(self) -> None:
        last, worked = time.monotonic(), time.thread_time()
        while True:
            await asyncio.sleep(0.01)
            now, work = time.monotonic(), time.thread_time()
            self.longest_pause_seconds = max(self.longest_pause_seconds, now - last)
            self.longest_work_seconds = max(self.longest_work_seconds, work - worked)
            last, worked = now, work
