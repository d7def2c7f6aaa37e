"""Submitting to commands, results and output: idempotent, and acknowledged by every replica."""

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer

from events.catalogue import Topic
from events.log.kafka.connection import LARGEST_SUBMITTED_BYTES, Connection
from events.log.kafka.endings import Endings, drop
from events.log.kafka.failures import NotSubmitted, RecordTooLarge, within
from events.log.kafka.records import SUBMITTED, TopicNames, headers_of, most_bytes
from events.log.partitions import home_partition
from events.log.port import LogUnavailable, NewRecord, Place


class Submitter:
    """Sends records with one producer, which is made anew after every failure: what it had not delivered
    is forgotten with it, so that a broker that is away for long does not fill the memory.
    """

    def __init__(self, connection: Connection, names: TopicNames, partition_count: int, endings: Endings) -> None:
        self._connection = connection
        self._names = names
        self._partition_count = partition_count
        self._endings = endings
        self._making = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None

    async def submit(self, topic: Topic, records: Sequence[NewRecord]) -> list[tuple[Place, int]]:
        """Send records in order and wait until all are acknowledged; the place and offset of each.

        Raises LogUnavailable, after which some may have been written or may be yet, and RecordTooLarge
        before any is sent.
        """
        _check(topic, records)
        places = [Place(topic, home_partition(record.key, self._partition_count)) for record in records]
        producer: AIOKafkaProducer | None = None
        try:
            async with within(self._connection.timing.submitting_seconds, f"submitting to {topic}"):
                producer = await self._started()
                offsets = await self._delivered(producer, places, records)
        except LogUnavailable:
            if producer is not None:
                self._discard(producer)
            raise
        return list(zip(places, offsets, strict=True))

    async def close(self) -> None:
        """Let go of the producer."""
        if self._producer is not None:
            self._discard(self._producer)

    async def _delivered(
        self, producer: AIOKafkaProducer, places: Sequence[Place], records: Sequence[NewRecord]
    ) -> list[int]:
        waiting = []
        for place, record in zip(places, records, strict=True):
            topic, partition = self._names.partition(place)
            waiting.append(
                await producer.send(
                    topic, record.value, record.key.encode(), partition=partition, headers=headers_of(record)
                )
            )
        offsets = [int(written.offset) for written in await asyncio.gather(*waiting)]
        if any(offset < 0 for offset in offsets):  # repetitions of what the server no longer knows the offset of
            raise LogUnavailable("records were written, but their offsets are not known")
        return offsets

    async def _started(self) -> AIOKafkaProducer:
        async with self._making:
            if self._producer is None:
                producer = AIOKafkaProducer(**self._connection.submitter_settings())
                try:
                    await producer.start()
                except BaseException:
                    self._endings.begin(drop(producer))
                    raise
                self._producer = producer
                self._endings.opened(self)
            return self._producer

    def _discard(self, producer: AIOKafkaProducer) -> None:
        """Others may be sending with it: they too hear that the log is unavailable."""
        if self._producer is producer:
            self._producer = None
            self._endings.closed(self)
            self._endings.begin(drop(producer))


def _check(topic: Topic, records: Sequence[NewRecord]) -> None:
    if topic not in SUBMITTED:
        raise NotSubmitted(f"{NotSubmitted.__doc__} {topic}")
    for record in records:
        if most_bytes(record) > LARGEST_SUBMITTED_BYTES:
            raise RecordTooLarge(f"{RecordTooLarge.__doc__} {topic}: the limit is {LARGEST_SUBMITTED_BYTES} bytes")
