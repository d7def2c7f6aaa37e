"""Reading ranges: one consumer, shared, moved about by whoever holds its lock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord, TopicPartition

from events.catalogue import Topic
from events.log.kafka.connection import Connection
from events.log.kafka.endings import Endings, stop
from events.log.kafka.failures import within
from events.log.kafka.offsets import Offsets
from events.log.kafka.records import TopicNames
from events.log.port import HistoryCutOff, LogUnavailable, Place

WAIT_MILLISECONDS = 10
WINDOW_RECORDS = 64
WINDOW_GROWTH = 8


class RangeReader:
    """Reads what is committed. Every method raises LogUnavailable."""

    def __init__(self, connection: Connection, names: TopicNames, offsets: Offsets, endings: Endings) -> None:
        self._connection = connection
        self._names = names
        self._offsets = offsets
        self._endings = endings
        self._lock = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None
        self._known_ends: dict[Place, tuple[int, int]] = {}

    async def read(self, place: Place, start: int, end: int | None = None) -> Sequence[ConsumerRecord]:
        """The next committed records in [start, end), some of them; none when there are none."""
        stable = (await self._offsets.stable_ends([place]))[place]
        bound = stable if end is None else min(end, stable)
        if start >= bound:
            return ()
        try:
            return await self._fetch(place, start, bound)
        except OffsetOutOfRangeError:
            first = await self.first_left(place, start)
            return await self._fetch(place, first, bound) if first < bound else ()

    async def first_left(self, place: Place, missing: int) -> int:
        """Where to go on when an offset is not there (any more). Raises HistoryCutOff where history was deleted.

        It may also lie beyond the end of a log that has lost its last records: whoever reads that begins anew.
        """
        first = await self._offsets.start(place)
        if place.topic is not Topic.EVENTS:
            return first
        if first > missing:
            raise HistoryCutOff(place, missing, first)
        raise LogUnavailable(f"{place} ends before {missing}, from where it was to be read")

    async def ends(self, topic: Topic, partition_count: int) -> dict[int, int]:
        """The offset behind the last committed record of each partition."""
        stable = await self._offsets.stable_ends(Place(topic, number) for number in range(partition_count))
        return {place.partition: await self._end(place, offset) for place, offset in stable.items()}

    async def newest(
        self, place: Place, end: int, is_wanted: Callable[[ConsumerRecord], bool]
    ) -> ConsumerRecord | None:
        """The last record before `end` that is wanted, found by walking back in windows.

        Offsets have gaps: the marks that end transactions take some, aborted records others. Windows
        without a record grow; others do not, since records can be large.
        """
        start = await self._offsets.start(place)
        width = WINDOW_RECORDS
        while end > start:
            low = max(start, end - width)
            is_empty, found = await self._newest_within(place, low, end, is_wanted)
            if found is not None:
                return found
            end, width = low, width * WINDOW_GROWTH if is_empty else WINDOW_RECORDS
        return None

    async def close(self) -> None:
        """Let go of the consumer."""
        if self._consumer is not None:
            self._endings.closed(self)
            self._endings.begin(stop(self._consumer))
            self._consumer = None

    async def _end(self, place: Place, stable: int) -> int:
        known_stable, known_end = self._known_ends.get(place, (-1, 0))
        if known_stable == stable:
            return known_end
        last = await self.newest(place, stable, lambda record: True)
        end = last.offset + 1 if last is not None else await self._offsets.start(place)
        self._known_ends[place] = (stable, end)
        return end

    async def _newest_within(
        self, place: Place, low: int, high: int, is_wanted: Callable[[ConsumerRecord], bool]
    ) -> tuple[bool, ConsumerRecord | None]:
        found, is_empty = None, True
        while records := await self.read(place, low, high):
            is_empty = False
            found = next((record for record in reversed(records) if is_wanted(record)), found)
            low = records[-1].offset + 1
        return is_empty, found

    async def _fetch(self, place: Place, start: int, bound: int) -> Sequence[ConsumerRecord]:
        partition = self._names.partition(place)
        async with self._borrowed(f"reading {place.topic}, partition {place.partition}") as consumer:
            _move(consumer, partition, start)
            try:
                return await _next_records(consumer, partition, bound)
            finally:
                consumer.pause(partition)  # or it would go on fetching what nobody has asked for

    @asynccontextmanager
    async def _borrowed(self, doing: str) -> AsyncIterator[AIOKafkaConsumer]:
        """The consumer, to nobody else meanwhile. After any failure it is made anew."""
        async with self._lock:
            try:
                async with within(self._connection.timing.reading_seconds, doing, but=OffsetOutOfRangeError):
                    yield await self._started()
            except OffsetOutOfRangeError:
                raise
            except BaseException:
                await self.close()
                raise

    async def _started(self) -> AIOKafkaConsumer:
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


def _move(consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> None:
    if consumer.assignment() == {partition}:
        consumer.resume(partition)
    else:
        consumer.assign([partition])
    consumer.seek(partition, offset)


async def _next_records(
    consumer: AIOKafkaConsumer, partition: TopicPartition, bound: int
) -> Sequence[ConsumerRecord]:
    """Fetch until there are records, or until what holds none has been passed up to the bound."""
    while True:
        most = max(1, bound - await consumer.position(partition))
        batches = await consumer.getmany(partition, timeout_ms=WAIT_MILLISECONDS, max_records=most)
        records = [record for record in batches.get(partition, ()) if record.offset < bound]
        if records or await consumer.position(partition) >= bound:
            return records
