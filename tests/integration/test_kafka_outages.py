"""A broker that is away or silent: said in time, with the cause, and nothing acknowledged is lost."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from events.catalogue import Topic
from events.log.kafka import KafkaLog, Timing
from events.log.port import EventLog, LogUnavailable, Membership, Positions, Step, Tail
from servers.kafka import KafkaBroker
from support.kafka_log import EVENTS, PARTITIONS, fresh_prefix, opened_log, record, texts

LIMIT_SECONDS = 6.0
IMPATIENT = Timing(
    taking_over_seconds=LIMIT_SECONDS,
    step_seconds=LIMIT_SECONDS,
    submitting_seconds=LIMIT_SECONDS,
    reading_seconds=LIMIT_SECONDS,
    checking_seconds=LIMIT_SECONDS,
    silence_seconds=LIMIT_SECONDS,
    closing_seconds=15.0,
)
HEALING_SECONDS = 60


@pytest.fixture(scope="module")
def broker(session_runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker of this module's own, that each test leaves running."""
    server = KafkaBroker(tmp_path_factory.mktemp("kafka-outages"))
    session_runner.run(server.start())
    yield server
    session_runner.run(server.stop())


@pytest.fixture
async def log(broker: KafkaBroker) -> AsyncIterator[KafkaLog]:
    """An impatient log on a broker that has made all that it makes when first asked for."""
    prefix = fresh_prefix()
    async with opened_log(broker.bootstrap, prefix) as patient:
        await patient.take_over(0, "none")
        await patient.join("none")
    async with opened_log(broker.bootstrap, prefix, IMPATIENT) as opened:
        try:
            yield opened
        finally:
            broker.resume()


async def paused(broker: KafkaBroker) -> None:
    """Pause the broker, and wait until every thread of it stands still."""
    broker.pause()
    async with asyncio.timeout(HEALING_SECONDS):
        while not all(state == "T" for state in _thread_states(broker.process_id)):
            await asyncio.sleep(0.01)


def _thread_states(process_id: int) -> list[str]:
    statistics = Path(f"/proc/{process_id}/task").glob("*/stat")
    return [path.read_text(encoding="utf-8").rpartition(")")[2].split()[0] for path in statistics]


def step(text: str, number: int) -> Step:
    return Step([record(text)], positions=Positions(number, 0))


async def healed(attempt: Callable[[], Awaitable[object]]) -> None:
    """Try until the log is there again."""
    async with asyncio.timeout(HEALING_SECONDS):
        while True:
            try:
                await attempt()
            except LogUnavailable:
                continue  # each attempt takes its time
            return


async def following(log: EventLog) -> Tail:
    tail = log.tail()
    tail.follow(EVENTS, 0)
    assert await tail.batches(HEALING_SECONDS)
    return tail


async def unavailable(attempt: Awaitable[object]) -> str:
    """What is said, which must be said in time."""
    async with asyncio.timeout(5 * LIMIT_SECONDS):
        with pytest.raises(LogUnavailable) as said:
            await attempt
    assert said.value.__cause__ is not None or "silent" in str(said.value)
    return str(said.value)


async def test_a_silent_broker_is_unavailable_to_everyone_in_time_and_available_again_later(
    log: KafkaLog, broker: KafkaBroker
) -> None:
    writer = await log.take_over(0, "one")
    await writer.append(step("first", 1))
    await log.submit(Topic.COMMANDS, [record("a")])
    membership = await log.join("group")
    tail = await following(log)
    await paused(broker)
    await asyncio.gather(
        unavailable(log.check()),
        unavailable(log.submit(Topic.COMMANDS, [record("b")])),
        unavailable(writer.append(step("unknown", 2))),
        unavailable(log.take_over(1, "two")),
        unavailable(log.read(EVENTS, 0)),
        unavailable(tail.batches(HEALING_SECONDS)),
        unavailable(membership.living()),
        unavailable(membership.commit(0, 1)),
        unavailable(membership.committed(0)),
    )
    broker.resume()
    with pytest.raises(LogUnavailable, match="dropped"):
        await writer.append(step("late", 2))
    with pytest.raises(LogUnavailable, match="dropped"):
        await writer.renew()
    await healed(log.check)
    await healed(lambda: log.submit(Topic.COMMANDS, [record("c")]))
    await healed(lambda: take_over_and_write(log))
    await healed(membership.living)
    history = await texts(log, EVENTS)
    assert history in (["first", "second"], ["first", "unknown", "second"])
    left = history[1:]
    await healed(lambda: tail_brings(tail, left))


async def take_over_and_write(log: KafkaLog) -> None:
    writer = await log.take_over(0, "two")
    if writer.positions == Positions(3, 0):
        return  # it was written by the last attempt, which was not told so in time
    assert writer.positions in (Positions(1, 0), Positions(2, 0))
    await writer.append(step("second", 3))


async def tail_brings(tail: Tail, expected: list[str]) -> None:
    """What has come is taken out of what is expected."""
    while expected:
        for records in (await tail.batches(LIMIT_SECONDS)).values():
            assert [r.value.decode() for r in records] == expected[: len(records)]
            del expected[: len(records)]


async def test_a_killed_broker_comes_back_with_everything_acknowledged(log: KafkaLog, broker: KafkaBroker) -> None:
    writer = await log.take_over(0, "one")
    await writer.append(step("first", 1))
    ((place, _),) = await log.submit(Topic.COMMANDS, [record("acknowledged")])
    tail = await following(log)
    membership = await log.join("group")
    broker.kill()
    await asyncio.gather(
        unavailable(log.submit(Topic.COMMANDS, [record("lost")])),
        unavailable(writer.append(step("lost", 2))),
        unavailable(log.check()),
    )
    await broker.start()
    await healed(lambda: take_over_and_write(log))
    left = ["second"]
    await healed(lambda: tail_brings(tail, left))
    assert (await texts(log, place))[0] == "acknowledged"
    await until_it_lives(membership)


async def until_it_lives(membership: Membership) -> None:
    async def lives() -> None:
        """While the group shares its partitions out anew nobody commits, and nobody is told so."""
        await membership.commit(0, 4)
        if membership.instance not in await membership.living() or await membership.committed(0) != 4:
            raise LogUnavailable("not yet")

    await healed(lives)


async def test_a_log_that_is_closed_while_its_broker_is_silent_leaves_nothing_behind(
    log: KafkaLog, broker: KafkaBroker, caplog: pytest.LogCaptureFixture
) -> None:
    before = asyncio.all_tasks()
    log = await KafkaLog.open(broker.bootstrap, PARTITIONS, topic_prefix=fresh_prefix(), timing=IMPATIENT)
    writer = await log.take_over(0, "one")
    await writer.append(step("first", 1))
    await log.submit(Topic.COMMANDS, [record("a")])
    await following(log)
    await log.join("group")
    await paused(broker)
    await asyncio.gather(
        unavailable(writer.append(step("unknown", 2))),
        unavailable(log.submit(Topic.COMMANDS, [record("b")])),
    )
    async with asyncio.timeout(HEALING_SECONDS):
        await log.close()
    del writer
    gc.collect()
    await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    broker.resume()
    assert left == []
    assert [said for said in caplog.records if said.levelno >= logging.ERROR and said.name == "asyncio"] == []
