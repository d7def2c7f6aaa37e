"""Asking where partitions begin and end: one consumer that is assigned nothing, asked by many at once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaTimeoutError
from aiokafka.structs import TopicPartition

from events.log.kafka.connection import Connection
from events.log.kafka.endings import Endings, stop
from events.log.kafka.failures import within
from events.log.kafka.records import TopicNames
from events.log.port import LogUnavailable, Place

WAIT_MILLISECONDS = 100
SETTLING_SECONDS = 0.001

logger = logging.getLogger(__name__)

Question = Callable[[AIOKafkaConsumer], Awaitable[Mapping[TopicPartition, int]]]


class Offsets:
    """The offsets of partitions as they are now. Every method raises LogUnavailable."""

    def __init__(self, connection: Connection, names: TopicNames, endings: Endings) -> None:
        self._connection = connection
        self._names = names
        self._endings = endings
        self._making = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None
        self._is_closed = False

    async def start(self, place: Place) -> int:
        """The first offset that is left."""
        partition = self._names.partition(place)
        found = await self._asked("a start", lambda consumer: consumer.beginning_offsets([partition]))
        return int(found[partition])

    async def stable_ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """The offsets up to which every transaction is settled. Some of the last may hold no record."""
        partitions = [self._names.partition(place) for place in places]
        found = await self._asked("ends", lambda consumer: consumer.end_offsets(partitions))
        return {self._names.place(partition): int(offset) for partition, offset in found.items()}

    async def until_stable(self, ends: Mapping[Place, int]) -> None:
        """Wait until every place is settled up to its end.

        The server answers a commit a moment before it has marked the records as committed everywhere.
        """
        waiting = dict(ends)
        while waiting:
            found = await self.stable_ends(waiting)
            waiting = {place: end for place, end in waiting.items() if found[place] < end}
            if waiting:
                await asyncio.sleep(SETTLING_SECONDS)

    async def close(self) -> None:
        """Let go of the consumer, and make no other."""
        self._is_closed = True
        if self._consumer is not None:
            self._endings.closed(self)
            self._endings.begin(stop(self._consumer))
            self._consumer = None

    async def _asked(self, what: str, question: Question) -> Mapping[TopicPartition, int]:
        """Ask again for as long as there is time: the library gives up after the time of one request, in which it
        has found out at best that the broker that leads is silent.
        """
        async with within(self._connection.timing.reading_seconds, f"asking for {what}"):
            while True:
                consumer = await self._started()
                try:
                    return await question(consumer)
                except KafkaTimeoutError as error:
                    logger.info("asking for %s again: %r", what, error)

    async def _started(self) -> AIOKafkaConsumer:
        async with self._making:
            if self._is_closed:
                raise LogUnavailable("the log has been closed")
            if self._consumer is None:
                consumer = AIOKafkaConsumer(**self._connection.reader_settings(WAIT_MILLISECONDS))
                try:
                    await consumer.start()
                except BaseException:
                    self._endings.begin(stop(consumer))
                    raise
                self._consumer = consumer
                self._endings.opened(self)
            return self._consumer
