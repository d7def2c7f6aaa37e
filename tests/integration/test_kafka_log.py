"""The log on Kafka: what it has to itself, beside what every log can do."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from events.catalogue import Topic
from events.log.kafka import KafkaLog, NotSubmitted, RecordTooLarge, StepTooLarge
from events.log.kafka.connection import LARGEST_STEP_BYTES, LARGEST_SUBMITTED_BYTES
from events.log.port import Forward, NewRecord, Place, Positions, Step, StoredRecord, Tail
from servers.kafka import KafkaBroker
from support.kafka_log import (
    COMMANDS,
    EVENTS,
    REJECTIONS,
    everything,
    fresh_prefix,
    opened_log,
    record,
    texts,
    write_with_name,
)

DEADLINE_SECONDS = 30


@pytest.fixture
def prefix() -> str:
    return fresh_prefix()


@pytest.fixture
async def log(kafka_broker: KafkaBroker, prefix: str) -> AsyncIterator[KafkaLog]:
    async with opened_log(kafka_broker.bootstrap, prefix) as opened:
        yield opened


@pytest.fixture
async def foreigner(kafka_broker: KafkaBroker) -> AsyncIterator[AIOKafkaProducer]:
    """A producer that is not ours: another client, with the library's defaults."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka_broker.bootstrap, max_request_size=16 * 1024 * 1024)
    await producer.start()
    yield producer
    await producer.stop()


async def followed(log: KafkaLog, place: Place, offset: int, count: int) -> list[StoredRecord]:
    """The first records that a tail brings."""
    tail = log.tail()
    tail.follow(place, offset)
    found: list[StoredRecord] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(found) < count:
            found += (await tail.batches(1.0)).get(place, ())
    await tail.close()
    return found


async def delete_before(broker: KafkaBroker, prefix: str, place: Place, offset: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        partition = TopicPartition(f"{prefix}{place.topic}", place.partition)
        await admin.delete_records({partition: RecordsToDelete(offset)})
    finally:
        await admin.close()


async def test_a_step_of_every_part_is_read_back(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    step = Step(
        [record("event 1", type=b"A"), record("event 2")],
        [record("rejected")],
        [Forward(Topic.COMMANDS, 1, record("forwarded"))],
        Positions(3, 4),
    )
    assert await writer.append(step) == 2
    assert await texts(log, EVENTS) == ["event 1", "event 2"]
    assert await texts(log, REJECTIONS) == ["rejected"]
    assert await texts(log, Place(Topic.COMMANDS, 1)) == ["forwarded"]
    assert [r.headers for r in await everything(log, EVENTS)] == [{"type": b"A"}, {}]


async def test_records_of_a_step_bear_the_time_of_the_broker(log: KafkaLog) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    writer = await log.take_over(0, "one")
    await writer.append(Step([record("a"), record("b")], positions=Positions(1, 0)))
    first, second = await everything(log, EVENTS)
    assert first.recorded_at == second.recorded_at
    assert before < first.recorded_at < datetime.now(UTC) + timedelta(seconds=1)


async def test_the_time_that_a_foreign_producer_gives_is_not_believed(
    log: KafkaLog, prefix: str, foreigner: AIOKafkaProducer
) -> None:
    await foreigner.send_and_wait(f"{prefix}{Topic.COMMANDS}", b"a", partition=0, timestamp_ms=1)
    (found,) = await everything(log, COMMANDS)
    assert found.recorded_at.year > 2000


async def test_records_of_a_foreign_partitioner_are_read_where_they_lie(
    log: KafkaLog, prefix: str, foreigner: AIOKafkaProducer
) -> None:
    for partition in range(log.partition_count):
        await foreigner.send_and_wait(f"{prefix}{Topic.COMMANDS}", b"a", key=b"p", partition=partition)
    for partition in range(log.partition_count):
        (found,) = await followed(log, Place(Topic.COMMANDS, partition), 0, 1)
        assert (found.key, found.partition) == ("p", partition)


async def test_records_without_key_value_or_sense_are_read(
    log: KafkaLog, prefix: str, foreigner: AIOKafkaProducer
) -> None:
    topic = f"{prefix}{Topic.COMMANDS}"
    await foreigner.send_and_wait(topic, b"no key", partition=0)
    await foreigner.send_and_wait(topic, None, key=b"no value", partition=0)
    await foreigner.send_and_wait(topic, b"\xff\x00", key=b"\xff", partition=0, headers=[("empty", None)])
    found = await followed(log, COMMANDS, 0, 3)
    assert [r.key for r in found] == [None, "no value", "\ufffd"]
    assert [r.value for r in found] == [b"no key", b"", b"\xff\x00"]
    assert found[2].headers == {"empty": b""}


@pytest.mark.parametrize("topic", [Topic.COMMANDS, Topic.RESULTS, Topic.OUTPUT])
async def test_a_header_whose_name_is_no_text_ends_no_reading(
    log: KafkaLog, prefix: str, foreigner: AIOKafkaProducer, topic: Topic
) -> None:
    place = Place(topic, 0)
    await foreigner.send_and_wait(f"{prefix}{topic}", b"before", partition=0, headers=[("n\u00e4me", b"0")])
    await write_with_name(foreigner, f"{prefix}{topic}", [b"odd 1", b"odd 2"], b"\xffodd\xfe")
    await foreigner.send_and_wait(f"{prefix}{topic}", b"behind", partition=0)
    for found in (
        await everything(log, place),
        await followed(log, place, 0, 4),
        await followed(log, place, 2, 2),
    ):
        assert [r.value for r in found] == [b"before", b"odd 1", b"odd 2", b"behind"][-len(found) :]
        assert [r.headers for r in found][-2:] == [{"\ufffdodd\ufffd": b"1"}, {}]
    assert (await everything(log, place))[0].headers == {"n\u00e4me": b"0"}


async def test_a_submitted_record_of_the_largest_size_can_be_forwarded_and_rejected(log: KafkaLog) -> None:
    large = NewRecord("p", b"x" * (LARGEST_SUBMITTED_BYTES - 300))
    ((place, _),) = await log.submit(Topic.COMMANDS, [large])
    writer = await log.take_over(0, "one")
    forwards = [Forward(Topic.COMMANDS, (place.partition + 1) % log.partition_count, large)] * 3
    await writer.append(Step((), [large] * 5, forwards, Positions(1, 0)))
    assert [len(r.value) for r in await everything(log, REJECTIONS)] == [len(large.value)] * 5
    assert (await log.take_over(0, "two")).positions == Positions(1, 0)


async def test_a_record_that_is_small_only_while_compressed_is_refused_when_submitted(
    log: KafkaLog, prefix: str, kafka_broker: KafkaBroker
) -> None:
    """Or it would be too large to be forwarded or rejected, and its partition would stand still."""
    swelling = b"x" * (3 * LARGEST_SUBMITTED_BYTES)
    assert len(gzip.compress(swelling)) < 100_000
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka_broker.bootstrap, compression_type="gzip", max_request_size=16 * 1024 * 1024
    )
    await producer.start()
    try:
        with pytest.raises(KafkaError):
            await producer.send_and_wait(f"{prefix}{Topic.COMMANDS}", swelling, partition=0)
    finally:
        await producer.stop()
    assert await everything(log, COMMANDS) == []


async def test_a_record_too_large_is_refused_before_it_is_sent(log: KafkaLog) -> None:
    with pytest.raises(RecordTooLarge):
        await log.submit(Topic.COMMANDS, [record("small"), NewRecord("p", b"x" * LARGEST_SUBMITTED_BYTES)])
    ((place, offset),) = await log.submit(Topic.COMMANDS, [record("next")])
    assert (await texts(log, place), offset) == (["next"], 0)


async def test_nobody_submits_to_the_history(log: KafkaLog) -> None:
    for topic in (Topic.EVENTS, Topic.REJECTIONS):
        with pytest.raises(NotSubmitted):
            await log.submit(topic, [record("forged")])


async def test_a_step_larger_than_a_request_by_default_is_one_batch(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    large = [NewRecord("p", b"x" * 60_000) for _ in range(200)]
    await writer.append(Step(large, positions=Positions(1, 0)))
    assert [len(r.value) for r in await everything(log, EVENTS)] == [60_000] * 200
    assert len({r.recorded_at for r in await everything(log, EVENTS)}) == 1


async def test_a_step_too_large_for_one_batch_is_refused_and_nothing_is_written(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    parts = [NewRecord("p", b"x" * (LARGEST_STEP_BYTES // 8)) for _ in range(9)]
    with pytest.raises(StepTooLarge):
        await writer.append(Step(parts, [record("rejected")], (), Positions(1, 0)))
    await writer.append(Step([record("small")], positions=Positions(1, 0)))
    assert await texts(log, EVENTS) == ["small"]
    assert await texts(log, REJECTIONS) == []


async def test_reading_goes_on_with_what_is_left_of_submitted_records(
    log: KafkaLog, prefix: str, kafka_broker: KafkaBroker
) -> None:
    placed = await log.submit(Topic.COMMANDS, [record(f"{number}") for number in range(5)])
    place = placed[0][0]
    await delete_before(kafka_broker, prefix, place, 3)
    assert [r.offset for r in await followed(log, place, 0, 2)] == [3, 4]
    assert await texts(log, place) == ["3", "4"]


async def test_a_tail_that_moves_on_and_leaves_does_not_repeat_or_miss(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    other = Place(Topic.EVENTS, 1)
    second = await log.take_over(1, "one")
    await writer.append(Step([record("a1")], positions=Positions(1, 0)))
    await second.append(Step([record("b1")], positions=Positions(1, 0)))
    tail = log.tail()
    assert await tail.batches(0.01) == {}
    tail.follow(EVENTS, 0)
    assert await seen(tail, 1) == ["a1"]
    tail.follow(other, 0)
    assert await seen(tail, 1) == ["b1"]
    tail.unfollow(EVENTS)
    await writer.append(Step([record("a2")], positions=Positions(2, 0)))
    await second.append(Step([record("b2")], positions=Positions(2, 0)))
    assert await seen(tail, 1) == ["b2"]
    tail.unfollow(other)
    await second.append(Step([record("b3")], positions=Positions(3, 0)))
    assert await tail.batches(0.2) == {}
    tail.follow(EVENTS, 1)
    assert await seen(tail, 1) == ["a2"]
    await tail.close()


async def seen(tail: Tail, count: int) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(found) < count:
            batches = await tail.batches(1.0)
            found += [r.value.decode() for records in batches.values() for r in records]
    return found


async def test_a_place_followed_while_waiting_is_heard_of(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    await writer.append(Step([record("a")], positions=Positions(1, 0)))
    tail = log.tail()
    waiting = asyncio.create_task(tail.batches(DEADLINE_SECONDS))
    await asyncio.sleep(0)
    tail.follow(EVENTS, 0)
    assert [r.value for r in (await waiting)[EVENTS]] == [b"a"]


async def test_logs_with_different_prefixes_share_nothing(log: KafkaLog, kafka_broker: KafkaBroker) -> None:
    async with opened_log(kafka_broker.bootstrap, fresh_prefix()) as other:
        writer = await log.take_over(0, "one")
        await other.take_over(0, "one")
        await writer.append(Step([record("a")], positions=Positions(1, 0)))
        assert await texts(other, EVENTS) == []
