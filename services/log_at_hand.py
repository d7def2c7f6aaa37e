"""The log as services are given it: the port, in front of an adapter that may not be open yet."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from events.catalogue import Topic
from events.log.port import (
    EventLog,
    LogUnavailable,
    Membership,
    NewRecord,
    PartitionWriter,
    Place,
    StoredRecord,
    Tail,
)


class LogAtHand:
    """A log of so many partitions. Until it has been opened every call raises LogUnavailable."""

    def __init__(self, partition_count: int, opening: Callable[[], Awaitable[EventLog]]) -> None:
        self._partition_count = partition_count
        self._opening = opening
        self._log: EventLog | None = None

    async def open(self) -> None:
        """Open it; once is enough. Raises LogUnavailable and LogUnfit."""
        if self._log is None:
            self._log = await self._opening()

    @property
    def _opened(self) -> EventLog:
        if self._log is None:
            raise LogUnavailable("the log has not answered yet")
        return self._log

    @property
    def partition_count(self) -> int:
        """The number of partitions of every topic; it never changes."""
        return self._partition_count

    async def submit(self, topic: Topic, records: Sequence[NewRecord]) -> list[tuple[Place, int]]:
        """Write records, each to its project's home partition."""
        return await self._opened.submit(topic, records)

    async def take_over(self, partition: int, instance: str) -> PartitionWriter:
        """Fence every earlier writer of the partition's history, then read where it ended."""
        return await self._opened.take_over(partition, instance)

    async def read(self, place: Place, start: int, end: int | None = None) -> Sequence[StoredRecord]:
        """The next records in [start, end), some of them."""
        return await self._opened.read(place, start, end)

    async def ends(self, topic: Topic) -> Mapping[int, int]:
        """The offset behind the last committed record, by partition."""
        return await self._opened.ends(topic)

    def tail(self) -> Tail:
        """A reader that follows places."""
        return self._opened.tail()

    async def join(self, group: str) -> Membership:
        """Become a member of a group among whose instances the partitions are shared out."""
        return await self._opened.join(group)

    async def check(self) -> None:
        """Raise LogUnavailable where the log cannot be used now."""
        await self._opened.check()

    async def close(self) -> None:
        """Let go of every connection."""
        if self._log is not None:
            await self._log.close()
