"""Taking a partition over: fence first, then read where its history ended and how far it had read."""

from datetime import timedelta

from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from events.catalogue import Topic
from events.log.kafka.clients import Clients
from events.log.kafka.endings import drop
from events.log.kafka.failures import within
from events.log.kafka.records import positions_of
from events.log.kafka.writer import KafkaPartitionWriter
from events.log.port import Place, Positions

CLOCKS_APART = timedelta(hours=1)
"""How far the clocks of two brokers may be apart, with room to spare."""


async def take_over(clients: Clients, partition: int, instance: str) -> KafkaPartitionWriter:
    """The new writer of a partition; the instance names it to the server. Raises LogUnavailable.

    Starting a producer under the partition's transactional id fences all earlier ones and settles what they
    had begun. Only then does the last stable offset stand still, and only then is the end read.
    """
    settings = clients.connection.writer_settings(clients.names.transactional_id(partition), instance)
    producer = AIOKafkaProducer(**settings)
    try:
        async with within(clients.timing.taking_over_seconds, f"taking over partition {partition}"):
            await producer.start()
            end, positions = await _where_it_ended(clients, partition)
    except BaseException:
        clients.endings.begin(drop(producer))
        raise
    return KafkaPartitionWriter(clients, producer, partition, positions, end)


async def _where_it_ended(clients: Clients, partition: int) -> tuple[int, Positions]:
    """The end of the history, and the highest positions at the end of history and rejections.

    Rejections alone make a step too. But those older than the newest history batch are behind it, and most
    carry no positions: looking for some is given up there.
    """
    history, rejections = Place(Topic.EVENTS, partition), Place(Topic.REJECTIONS, partition)
    ends = await clients.offsets.stable_ends([history, rejections])
    last = await clients.reader.newest(history, ends[history], lambda record: True)
    marked = last
    if last is not None and not _is_marked(last):
        marked = await clients.reader.newest(history, ends[history], _is_marked)
    oldest = None if marked is None else marked.timestamp - CLOCKS_APART // timedelta(milliseconds=1)
    rejected = await clients.reader.newest(
        rejections,
        ends[rejections],
        lambda record: _is_marked(record) or (oldest is not None and record.timestamp < oldest),
    )
    end = await clients.offsets.start(history) if last is None else last.offset + 1
    return end, _highest(marked, rejected)


def _is_marked(record: ConsumerRecord) -> bool:
    return positions_of(record) is not None


def _highest(*records: ConsumerRecord | None) -> Positions:
    found = [positions for record in records if record is not None and (positions := positions_of(record))]
    return Positions(
        commands=max((positions.commands for positions in found), default=0),
        results=max((positions.results for positions in found), default=0),
    )
