"""A step is taken whole or not at all, also when the end of an earlier transaction arrives in its midst."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from events.catalogue import Topic
from events.log.kafka import KafkaLog, Timing
from events.log.port import Fenced, Forward, LogUnavailable, Place, Positions, Step
from servers.kafka import KafkaBroker
from servers.proxy import ADD_PARTITIONS, END_TRANSACTION, PRODUCE, HeldRequest, KafkaProxy
from support.kafka_log import EVENTS, REJECTIONS, fresh_prefix, opened_log, record, texts

DEADLINE_SECONDS = 60
FORWARDED = Place(Topic.COMMANDS, 1)
FIRST = Step([record("first")], positions=Positions(1, 0))
SECOND = Step(
    [record(f"second {number}") for number in range(3)],
    [record("rejected")],
    [Forward(FORWARDED.topic, FORWARDED.partition, record("forwarded"))],
    Positions(2, 0),
)
WHOLE = [f"second {number}" for number in range(3)]


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
            with pytest.raises(KafkaError):
                await producer.send_and_wait(topic, b"second, other half", partition=0)
        finally:
            await producer.stop()
        assert await texts(log, EVENTS) == ["first", "second, one half"]


def adding(prefix: str, proxy: KafkaProxy) -> HeldRequest:
    """The history's partition is about to be added to the transaction; rejections are written."""
    topic = f"{prefix}{Topic.EVENTS}"
    return proxy.hold(lambda request: request.api_key == ADD_PARTITIONS and request.names(topic))


def producing(prefix: str, proxy: KafkaProxy) -> HeldRequest:
    """The history's partition has been added to the transaction, and its batch is on its way."""
    topic = f"{prefix}{Topic.EVENTS}"
    return proxy.hold(lambda request: request.api_key == PRODUCE and request.names(topic))


def ending(prefix: str, proxy: KafkaProxy) -> HeldRequest:
    """Everything is written, and the transaction's own end is on its way."""
    return proxy.hold(lambda request: request.api_key == END_TRANSACTION)


@pytest.mark.parametrize("moment", [adding, producing, ending])
async def test_a_step_is_whole_or_not_there_when_a_delayed_end_arrives_in_its_midst(
    kafka_broker: KafkaBroker, proxy: KafkaProxy, moment: Callable[[str, KafkaProxy], HeldRequest]
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
        at_the_moment = moment(prefix, proxy)
        appending = asyncio.create_task(writer.append(SECOND))
        await at_the_moment.arrived.wait()
        await held.release()
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
        opened_log(proxy.bootstrap, prefix, Timing(step_seconds=1.0)) as through_proxy,
    ):
        late = await through_proxy.take_over(0, "one")
        held = proxy.hold_end_of_transaction()
        with pytest.raises(LogUnavailable):
            await late.append(FIRST)
        writer = await through_proxy.take_over(0, "two")
        at_the_moment = producing(prefix, proxy)
        appending = asyncio.create_task(writer.append(SECOND))
        await at_the_moment.arrived.wait()
        await held.release()
        assert await texts(log, REJECTIONS) == []
        at_the_moment.released.set()
        await appending
        assert await texts(through_proxy, EVENTS) == WHOLE
