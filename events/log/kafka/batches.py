"""The batches of a step: what goes ahead, and the one that makes it a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from events.catalogue import Topic
from events.log.kafka.failures import StepTooLarge
from events.log.kafka.records import BATCH_OVERHEAD_BYTES, TopicNames, headers_of, most_bytes
from events.log.kafka.topics import SPECIFICATIONS
from events.log.port import NewRecord, Place, Positions, Step


@dataclass(frozen=True, slots=True)
class Batch:
    """Records for one partition that are taken whole or not at all."""

    place: Place
    partition: TopicPartition
    builder: Any


@dataclass(frozen=True, slots=True)
class StepBatches:
    """A step to be sent: first what goes `ahead`, then the batch that carries its positions.

    A step of forwards alone has no such batch: it may be repeated.
    """

    ahead: Sequence[Batch]
    last: Batch | None


class Batcher:
    """Packs the steps of one partition's writer."""

    def __init__(self, producer: AIOKafkaProducer, names: TopicNames, partition: int) -> None:
        self._producer = producer
        self._names = names
        self._partition = partition

    def pack(self, step: Step) -> StepBatches:
        """The batches of a step. Raises StepTooLarge where one would be larger than its topic takes."""
        ahead = self._forwards(step)
        rejections = _lots(step.rejections, SPECIFICATIONS[Topic.REJECTIONS].largest_batch_bytes)
        place = Place(Topic.REJECTIONS, self._partition)
        last = None
        if step.events:
            last = self._batch(Place(Topic.EVENTS, self._partition), step.events, step.positions)
        elif rejections:
            last = self._batch(place, rejections.pop(), step.positions)
        return StepBatches([*ahead, *(self._batch(place, lot) for lot in rejections)], last)

    def _forwards(self, step: Step) -> list[Batch]:
        by_place: dict[Place, list[NewRecord]] = {}
        for forward in step.forwards:
            by_place.setdefault(Place(forward.topic, forward.partition), []).append(forward.record)
        return [
            self._batch(place, lot)
            for place, records in by_place.items()
            for lot in _lots(records, SPECIFICATIONS[place.topic].largest_batch_bytes)
        ]

    def _batch(self, place: Place, records: Sequence[NewRecord], positions: Positions | None = None) -> Batch:
        limit_bytes = SPECIFICATIONS[place.topic].largest_batch_bytes
        builder = self._producer.create_batch()
        for record in records:
            headers = headers_of(record, positions)
            added = builder.append(timestamp=None, key=record.key.encode(), value=record.value, headers=headers)
            # The first record is always added, however large.
            if added is None or builder.size() > limit_bytes:
                raise StepTooLarge(f"{StepTooLarge.__doc__} {place.topic}: the limit is {limit_bytes} bytes")
        return Batch(place, self._names.partition(place), builder)


def _lots(records: Sequence[NewRecord], limit_bytes: int) -> list[list[NewRecord]]:
    """The records in order, in as few lots as each fit one batch."""
    lots: list[list[NewRecord]] = []
    room = 0
    for record in records:
        size = most_bytes(record)
        if size > room:
            lots.append([])
            room = limit_bytes - BATCH_OVERHEAD_BYTES
        lots[-1].append(record)
        room -= size
    return lots
