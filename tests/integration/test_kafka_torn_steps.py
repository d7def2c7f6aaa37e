"""A step is taken whole or not at all, also when the end of an earlier transaction arrives in its midst."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from events.catalogue import Topic
from events.log.kafka import KafkaLog, Timing
from events.log.port import Fenced, LogUnavailable, Positions
from servers.kafka import KafkaBroker
from servers.proxy import ADD_PARTITIONS, END_TRANSACTION, PRODUCE, HeldRequest, KafkaProxy
from support.kafka_log import (
    EVENTS,
    FIRST,
    FORWARDED,
    PARTITIONS,
    REJECTIONS,
    SECOND,
    WHOLE,
    fresh_prefix,
    opened_log,
    texts,
)

DEADLINE_SECONDS = 60
REQUESTS_OF_A_STEP = 5
"""Partitions added and records produced, for what goes ahead and for the history, and the end."""


@pytest.fixture
async def proxy(kafka_broker: KafkaBroker) -> AsyncIterator[KafkaProxy]:
    between = KafkaProxy(int(kafka_broker.bootstrap.partition(":")[2]))
    await between.start()
    yield between
    await between.stop()


async def committed_again(proxy: KafkaProxy, committing: "asyncio.Task[object]", held: HeldRequest) -> None:
    """The end of a transaction hangs on a connection that breaks, and is sent again on a new one."""
    await held.arrived.wait()
    proxy.cut_clients()
    await committing


async def until_everything_is_settled(broker: KafkaBroker, prefix: str) -> None:
    """Wait until no transaction is open: its end is answered before it is marked in the partitions."""
    partitions = [TopicPartition(f"{prefix}{topic}", number) for topic in Topic for number in range(PARTITIONS)]
    async with AsyncExitStack() as stack:
        committed, uncommitted = [
            await stack.enter_async_context(
                AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, isolation_level=level)
            )
            for level in ("read_committed", "read_uncommitted")
        ]
        while await committed.end_offsets(partitions) != await uncommitted.end_offsets(partitions):
            await asyncio.sleep(0.01)


async def test_a_delayed_end_commits_half_of_a_transaction_that_is_written_record_by_record(
    kafka_broker: KafkaBroker, proxy: KafkaProxy
) -> None:
    """The fault is real: without this, the tests below could pass because the proxy does nothing."""
    prefix = fresh_prefix()
    topic = f"{prefix}{Topic.EVENTS}"
    async with asyncio.timeout(DEADLINE_SECONDS), opened_log(kafka_broker.bootstrap, prefix) as log:
        producer = AIOKafkaProducer(bootstrap_servers=proxy.bootstrap, transactional_id=f"{prefix}naive")
        await producer.start()
        try:
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"first", partition=0)
            held = proxy.hold_end_of_transaction()
            await committed_again(proxy, asyncio.create_task(producer.commit_transaction()), held)
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"second, one half", partition=0)
            await held.release()
            await until_everything_is_settled(kafka_broker, prefix)
            with pytest.raises(KafkaError):
                await producer.send_and_wait(topic, b"second, other half", partition=0)
        finally:
            await producer.stop()
        assert await texts(log, EVENTS) == ["first", "second, one half"]


def hold_after(proxy: KafkaProxy, passing: int) -> HeldRequest:
    """Hold the request of a transaction that comes after so many have passed, whatever it is."""
    passed = itertools.count()
    kinds = (ADD_PARTITIONS, PRODUCE, END_TRANSACTION)
    return proxy.hold(lambda request: request.api_key in kinds and next(passed) == passing)


@pytest.mark.parametrize("passing", range(REQUESTS_OF_A_STEP))
async def test_a_step_is_whole_or_not_there_when_a_delayed_end_arrives_in_its_midst(
    kafka_broker: KafkaBroker, proxy: KafkaProxy, passing: int
) -> None:
    prefix = fresh_prefix()
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        opened_log(kafka_broker.bootstrap, prefix) as log,
        opened_log(proxy.bootstrap, prefix) as through_proxy,
    ):
        writer = await through_proxy.take_over(0, "one")
        held = proxy.hold_end_of_transaction()
        await committed_again(proxy, asyncio.create_task(writer.append(FIRST)), held)
        at_the_moment = hold_after(proxy, passing)
        appending = asyncio.create_task(writer.append(SECOND))
        await at_the_moment.arrived.wait()
        await held.release()
        await until_everything_is_settled(kafka_broker, prefix)
        at_the_moment.released.set()
        try:
            await appending
            is_acknowledged = True
        except (LogUnavailable, Fenced):
            is_acknowledged = False
        await assert_whole_or_nothing(log, is_acknowledged)


async def assert_whole_or_nothing(log: KafkaLog, is_acknowledged: bool) -> None:
    """As the next owner finds it; where the step is not there, it is repeated and then is."""
    writer = await log.take_over(0, "two")
    history = await texts(log, EVENTS)
    if is_acknowledged or len(history) > 1:
        assert (history, writer.positions) == (["first", *WHOLE], Positions(2, 0))
    else:
        assert (history, writer.positions) == (["first"], Positions(1, 0))
        await writer.append(SECOND)
        assert await texts(log, EVENTS) == ["first", *WHOLE]
    assert set(await texts(log, REJECTIONS)) == {"rejected"}
    assert set(await texts(log, FORWARDED)) == {"forwarded"}


async def test_the_delayed_end_of_a_given_up_step_does_not_touch_the_next_owners(
    kafka_broker: KafkaBroker, proxy: KafkaProxy
) -> None:
    prefix = fresh_prefix()
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        opened_log(kafka_broker.bootstrap, prefix) as log,
        opened_log(proxy.bootstrap, prefix, Timing(step_seconds=5.0)) as through_proxy,
        opened_log(proxy.bootstrap, prefix) as patient,
    ):
        late = await through_proxy.take_over(0, "one")
        held = proxy.hold_end_of_transaction()
        with pytest.raises(LogUnavailable):
            await late.append(FIRST)
        writer = await patient.take_over(0, "two")
        at_the_moment = hold_after(proxy, passing=REQUESTS_OF_A_STEP - 2)
        appending = asyncio.create_task(writer.append(SECOND))
        await at_the_moment.arrived.wait()
        await held.release()
        assert await texts(log, REJECTIONS) == []
        at_the_moment.released.set()
        await appending
        assert await texts(through_proxy, EVENTS) == WHOLE
