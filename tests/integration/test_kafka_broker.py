"""The broker that the tests bring: it has to be as real as the tests on it claim."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from servers.jars import JarsDiffer, check
from servers.java import quick_start
from servers.kafka import KafkaBroker


async def make_topic(broker: KafkaBroker, partitions: int = 1) -> str:
    topic = f"topic-{uuid4()}"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()
    return topic


@asynccontextmanager
async def transactional_producer(broker: KafkaBroker) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=f"writer-{uuid4()}")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def committed_values(broker: KafkaBroker, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=broker.bootstrap,
        group_id=f"group-{uuid4()}",
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        retry_backoff_ms=50,
    )
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


def is_suspended(process_id: int) -> bool:
    return psutil.Process(process_id).status() == psutil.STATUS_STOPPED


async def test_a_broker_is_started_with_the_cache_of_what_it_loads(kafka_broker: KafkaBroker) -> None:
    """Java says nothing where it passes over one that does not fit, and takes twice as long."""
    (option,) = quick_start()
    cache = option.partition("=")[2]
    mapped = {one.path for one in psutil.Process(kafka_broker.process_id).memory_maps()}
    assert cache in mapped, f"{cache} does not fit this machine, or the jars beside it: delete it"


async def test_a_reader_of_committed_records_does_not_see_an_aborted_one(kafka_broker: KafkaBroker) -> None:
    topic = await make_topic(kafka_broker)
    async with transactional_producer(kafka_broker) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed")
    assert await committed_values(kafka_broker, topic, 1) == [b"committed"]


async def test_a_killed_broker_comes_back_on_its_port_with_its_records(own_kafka_broker: KafkaBroker) -> None:
    broker = own_kafka_broker
    topic = await make_topic(broker)
    async with transactional_producer(broker) as producer, producer.transaction():
        await producer.send_and_wait(topic, b"kept")
    bootstrap = broker.bootstrap
    broker.kill()
    await broker.start()
    assert broker.bootstrap == bootstrap
    assert await committed_values(broker, topic, 1) == [b"kept"]


async def test_a_paused_broker_answers_again_once_resumed(own_kafka_broker: KafkaBroker) -> None:
    broker = own_kafka_broker
    topic = await make_topic(broker)
    async with transactional_producer(broker) as producer:
        broker.pause()
        async with asyncio.timeout(20):
            while not is_suspended(broker.process_id):
                await asyncio.sleep(0.02)
        broker.resume()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"after the pause")
    assert await committed_values(broker, topic, 1) == [b"after the pause"]


async def test_a_stopped_broker_leaves_no_process(own_kafka_broker: KafkaBroker) -> None:
    process_id = own_kafka_broker.process_id
    await own_kafka_broker.stop()
    assert not psutil.pid_exists(process_id)


def test_a_jar_with_another_digest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kafka.jar").write_bytes(b"not the one that was locked")
    with pytest.raises(JarsDiffer, match=r"kafka\.jar"):
        check(tmp_path, f"{'0' * 64}  kafka.jar")


def test_a_missing_jar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JarsDiffer, match=r"kafka\.jar"):
        check(tmp_path, f"{'0' * 64}  kafka.jar")
