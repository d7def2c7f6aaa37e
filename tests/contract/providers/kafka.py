"""The log on Kafka, as the contract suite opens it: topics of its own for every test, on one broker."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from events.catalogue import Topic
from events.log.kafka import KafkaLog, Timing
from events.log.port import EventLog, Place
from servers.kafka import KafkaBroker

SERVER = "kafka_broker"
PARTITIONS = 4
SILENCE_SECONDS = 1.5


@asynccontextmanager
async def fresh_log(server: KafkaBroker) -> AsyncIterator[str]:
    """The address of an empty log that is nobody else's: the broker, and a prefix for its topics."""
    prefix = f"t{uuid4().hex[:12]}."
    try:
        yield f"{server.bootstrap}/{prefix}"
    finally:
        await _delete(server.bootstrap, [f"{prefix}{topic}" for topic in Topic])


async def open_log(address: str) -> EventLog:
    """One more opening of the log at the address, from this process or another."""
    bootstrap, _, prefix = address.partition("/")
    return await KafkaLog.open(
        bootstrap, PARTITIONS, topic_prefix=prefix, timing=Timing(session_seconds=SILENCE_SECONDS)
    )


async def write_foreign(
    address: str, place: Place, key: bytes | None, value: bytes, headers: Mapping[str, bytes]
) -> None:
    """Write a record as a program that is not ours would: to a place and under a key of its own choice."""
    bootstrap, _, prefix = address.partition("/")
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(
            f"{prefix}{place.topic}", value, key, place.partition, headers=list(headers.items())
        )
    finally:
        await producer.stop()


async def delete_before(address: str, place: Place, offset: int) -> None:
    """Delete the records of a place before an offset, as an administrator would."""
    bootstrap, _, prefix = address.partition("/")
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        partition = TopicPartition(f"{prefix}{place.topic}", place.partition)
        await admin.delete_records({partition: RecordsToDelete(offset)})
    finally:
        await admin.close()


async def _delete(bootstrap: str, topics: list[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics(topics)
    finally:
        await admin.close()
