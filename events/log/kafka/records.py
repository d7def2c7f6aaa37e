"""Records as Kafka keeps them, and as the port shows them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from aiokafka.structs import ConsumerRecord, TopicPartition

from events.catalogue import Topic
from events.log.port import NewRecord, Place, Positions, StoredRecord

SUBMITTED = frozenset({Topic.COMMANDS, Topic.RESULTS, Topic.OUTPUT})
"""What many write to, and what steps forward to. The others have one writer a partition."""

POSITIONS_HEADER = "autopack-positions"
"""On every record of the batch that carries a step's positions. It is the writer's own: readers do not see
it, and what a record brings under this name is left out, since a rejected record's headers are a stranger's."""

BATCH_OVERHEAD_BYTES = 64
_RECORD_OVERHEAD_BYTES = 128
_HEADER_OVERHEAD_BYTES = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Headers = list[tuple[str, bytes]]


class TopicNames:
    """The names of the topics on the server, with a prefix where several logs share one."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._topics = {self.name(topic): topic for topic in Topic}

    def name(self, topic: Topic) -> str:
        """What the topic is called on the server."""
        return f"{self._prefix}{topic.value}"

    def transactional_id(self, partition: int) -> str:
        """Whoever starts a producer under it fences all earlier writers of the partition's history."""
        return f"{self._prefix}autopack-history-{partition}"

    def group(self, group: str) -> str:
        """What a group is called on the server."""
        return f"{self._prefix}autopack-{group}"

    def partition(self, place: Place) -> TopicPartition:
        """The place as the library names it."""
        return TopicPartition(self.name(place.topic), place.partition)

    def place(self, partition: TopicPartition) -> Place:
        """The place that the library names so."""
        return Place(self._topics[partition.topic], partition.partition)


def stored(place: Place, record: ConsumerRecord) -> StoredRecord:
    """A record as readers see it. A foreign producer may have given no key, or no value at all."""
    headers = {name: value if value is not None else b"" for name, value in record.headers}
    if place.topic not in SUBMITTED:
        headers.pop(POSITIONS_HEADER, None)
    return StoredRecord(
        topic=place.topic,
        partition=place.partition,
        offset=record.offset,
        key=None if record.key is None else record.key.decode("utf-8", "replace"),
        value=record.value or b"",
        headers=headers,
        recorded_at=_EPOCH + timedelta(milliseconds=record.timestamp),
    )


def all_stored(place: Place, records: Sequence[ConsumerRecord]) -> list[StoredRecord]:
    """Several records of one place."""
    return [stored(place, record) for record in records]


def headers_of(record: NewRecord, positions: Positions | None = None) -> Headers:
    """The headers to be written: the record's own, and the positions where its batch carries them."""
    headers = [(name, value) for name, value in record.headers.items() if name != POSITIONS_HEADER]
    if positions is not None:
        headers.append((POSITIONS_HEADER, b"%d %d" % (positions.commands, positions.results)))
    return headers


def most_bytes(record: NewRecord) -> int:
    """An upper bound of the size of a record in a batch, positions and the batch's own header included."""
    named = ((len(name.encode()), len(value)) for name, value in record.headers.items())
    headers = sum(name + value + _HEADER_OVERHEAD_BYTES for name, value in named)
    return len(record.key.encode()) + len(record.value) + headers + BATCH_OVERHEAD_BYTES + _RECORD_OVERHEAD_BYTES


def positions_of(record: ConsumerRecord) -> Positions | None:
    """The positions that a record of the writer's carries."""
    for name, value in record.headers:
        if name == POSITIONS_HEADER:
            commands, results = value.split()
            return Positions(int(commands), int(results))
    return None
