"""Taking over finds the positions of the last step, whatever it was made of and whatever lies behind it."""

from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer

from events.catalogue import Topic
from events.log.kafka import KafkaLog
from events.log.kafka.reader import WINDOW_RECORDS
from events.log.kafka.records import POSITIONS_HEADER
from events.log.port import Forward, Positions, Step
from servers.kafka import KafkaBroker
from support.kafka_log import EVENTS, REJECTIONS, everything, fresh_prefix, opened_log, record, texts


@pytest.fixture
def prefix() -> str:
    return fresh_prefix()


@pytest.fixture
async def log(kafka_broker: KafkaBroker, prefix: str) -> AsyncIterator[KafkaLog]:
    async with opened_log(kafka_broker.bootstrap, prefix) as opened:
        yield opened


def events(count: int, positions: Positions) -> Step:
    return Step([record(f"event {number}") for number in range(count)], positions=positions)


async def found(log: KafkaLog) -> Positions:
    writer = await log.take_over(0, "next")
    await writer.close()
    return writer.positions


async def test_a_new_partition_begins_at_the_beginning(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    assert (writer.positions, writer.end) == (Positions(), 0)


async def test_positions_of_a_step_with_events_are_found(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    end = await writer.append(events(3, Positions(5, 7)))
    later = await log.take_over(0, "two")
    assert (later.positions, later.end) == (Positions(5, 7), end)


async def test_positions_of_rejections_alone_are_found(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    end = await writer.append(events(1, Positions(1, 1)))
    assert await writer.append(Step((), [record("bad")], (), Positions(2, 1))) == end
    assert await found(log) == Positions(2, 1)


async def test_positions_of_events_after_rejections_alone_are_found(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    await writer.append(Step((), [record("bad")], (), Positions(2, 1)))
    await writer.append(Step([record("good")], [record("also bad")], (), Positions(3, 4)))
    assert await found(log) == Positions(3, 4)


async def test_rejections_beside_events_carry_no_positions(log: KafkaLog) -> None:
    """They are written ahead of the history part: alone, they must not make a step."""
    writer = await log.take_over(0, "one")
    await writer.append(Step([record("good")], [record("bad")], (), Positions(3, 4)))
    (rejected,) = await log._clients.reader.read(REJECTIONS, 0)
    (written,) = await log._clients.reader.read(EVENTS, 0)
    assert [name for name, _ in rejected.headers] == []
    assert [name for name, _ in written.headers] == [POSITIONS_HEADER]


async def test_forwards_alone_leave_the_positions_as_they_were(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    end = await writer.append(events(2, Positions(5, 5)))
    forward = Forward(Topic.COMMANDS, 1, record("elsewhere"))
    assert await writer.append(Step((), (), [forward], Positions(6, 5))) == end
    assert await found(log) == Positions(5, 5)


async def test_positions_are_found_behind_many_aborted_transactions(
    log: KafkaLog, prefix: str, kafka_broker: KafkaBroker
) -> None:
    writer = await log.take_over(0, "one")
    end = await writer.append(events(1, Positions(8, 9)))
    await abort_many(kafka_broker, prefix, Topic.EVENTS)
    await abort_many(kafka_broker, prefix, Topic.REJECTIONS)
    later = await log.take_over(0, "two")
    assert (later.positions, later.end) == (Positions(8, 9), end)
    assert (await log.ends(Topic.EVENTS))[0] == end


async def abort_many(broker: KafkaBroker, prefix: str, topic: Topic) -> None:
    """Aborted records and the marks of their ends, several windows of them."""
    producer = AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap, transactional_id=f"{prefix}aborting", retry_backoff_ms=5
    )
    await producer.start()
    try:
        for _ in range(5):
            await producer.begin_transaction()
            for _ in range(WINDOW_RECORDS):
                await producer.send(f"{prefix}{topic}", b"aborted", partition=0)
            await producer.flush()
            await producer.abort_transaction()
    finally:
        await producer.stop()


async def test_positions_are_found_behind_many_rejections_without_them(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    await writer.append(Step((), [record("bad")], (), Positions(2, 1)))
    many = [record(f"bad {number}") for number in range(3 * WINDOW_RECORDS)]
    await writer.append(Step([record("good")], many, (), Positions(3, 1)))
    assert await found(log) == Positions(3, 1)


async def test_positions_are_the_highest_of_each_topic(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    await writer.append(events(1, Positions(10, 1)))
    await writer.append(Step((), [record("bad")], (), Positions(10, 2)))
    assert await found(log) == Positions(10, 2)


async def test_a_strangers_header_cannot_pass_for_positions(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    hostile = record("bad", **{POSITIONS_HEADER: b"1000000 1000000", "reason": b"hostile"})
    await writer.append(Step([record("good")], [hostile], (), Positions(1, 0)))
    await writer.append(Step((), [hostile], (), Positions(2, 0)))
    assert await found(log) == Positions(2, 0)
    assert [r.headers for r in await everything(log, REJECTIONS)] == [{"reason": b"hostile"}] * 2


async def test_an_empty_step_writes_nothing(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    end = await writer.append(events(2, Positions(1, 0)))
    assert await writer.append(Step(positions=Positions(9, 9))) == end
    assert await found(log) == Positions(1, 0)


async def test_records_before_the_positions_are_let_go(log: KafkaLog) -> None:
    places = await log.submit(Topic.COMMANDS, [record("a"), record("b"), record("c")])
    (place, first), *_ = places
    writer = await log.take_over(place.partition, "one")
    await writer.append(Step([record("done")], positions=Positions(first + 2, 0)))
    await writer.delete_before(Positions(first + 2, 0))
    assert await texts(log, place) == ["c"]
    await writer.delete_before(Positions(first + 3, 0))
    assert await texts(log, place) == []
    assert (await log.ends(Topic.COMMANDS))[place.partition] == first + 3


async def test_a_step_written_at_the_last_moment_before_the_fence_is_found(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the end first, and fences then, goes on as if that step had never been."""
    writer = await log.take_over(0, "one")
    first = await writer.append(events(1, Positions(1, 1)))
    start, ends = AIOKafkaProducer.start, list[int]()

    async def start_late(producer: AIOKafkaProducer) -> None:
        ends.append(await writer.append(events(2, Positions(3, 4))))
        await start(producer)

    monkeypatch.setattr(AIOKafkaProducer, "start", start_late)
    heir = await log.take_over(0, "two")
    assert [heir.end] == ends
    assert heir.end > first
    assert heir.positions == Positions(3, 4)
