"""Groups on Kafka: partitions are shared out, the dead are given up, and the living are known."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from events.log.kafka import KafkaLog, Timing
from events.log.port import Membership
from servers import kafka_member
from servers.kafka import KafkaBroker
from support.kafka_log import PARTITIONS, fresh_prefix, opened_log

TIMING = Timing(session_seconds=3.0)
ALL = frozenset(range(PARTITIONS))
DEADLINE_SECONDS = 40


@pytest.fixture
def prefix() -> str:
    return fresh_prefix()


@pytest.fixture
async def log(kafka_broker: KafkaBroker, prefix: str) -> AsyncIterator[KafkaLog]:
    async with opened_log(kafka_broker.bootstrap, prefix, TIMING) as opened:
        yield opened


async def until(membership: Membership, is_so: Callable[[frozenset[int]], bool]) -> frozenset[int]:
    """Wait for a share that is so."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        known = membership.partitions
        while not is_so(known):
            known = await membership.changed(known)
    return known


async def until_living(membership: Membership, expected: frozenset[str]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await membership.living() != expected:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def child(broker: KafkaBroker, prefix: str) -> AsyncIterator[tuple[Process, str]]:
    """A member in a process of its own, and its instance."""
    command = (sys.executable, kafka_member.__file__, broker.bootstrap, prefix, str(PARTITIONS))
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert process.stdout is not None
    try:
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_only_member_owns_everything(log: KafkaLog) -> None:
    membership = await log.join("group")
    assert membership.partitions == ALL
    assert await membership.living() == {membership.instance}


async def test_partitions_are_shared_out_and_given_back(log: KafkaLog) -> None:
    first = await log.join("group")
    second = await log.join("group")
    assert len(await until(first, lambda share: len(share) == PARTITIONS // 2)) == PARTITIONS // 2
    assert first.partitions | second.partitions == ALL
    assert not first.partitions & second.partitions
    assert await first.living() == {first.instance, second.instance}
    await second.leave()
    assert second.partitions == frozenset()
    await until(first, lambda share: share == ALL)
    await until_living(first, frozenset({first.instance}))


async def test_a_member_that_keeps_its_partitions_never_loses_them_meanwhile(log: KafkaLog) -> None:
    """The server takes everything from everybody and gives most of it back: nobody need stop and start."""
    first = await log.join("group")
    shares: list[frozenset[int]] = []

    async def watch() -> None:
        known = first.partitions
        while True:
            known = await first.changed(known)
            shares.append(known)

    watching = asyncio.create_task(watch())
    second = await log.join("group")
    await until(first, lambda share: len(share) == PARTITIONS // 2)
    await second.leave()
    await until(first, lambda share: share == ALL)
    watching.cancel()
    assert frozenset() not in shares


async def test_a_killed_member_is_given_up_and_its_partitions_pass_on(
    log: KafkaLog, kafka_broker: KafkaBroker, prefix: str
) -> None:
    membership = await log.join("group")
    async with child(kafka_broker, prefix) as (process, instance):
        await until(membership, lambda share: len(share) == PARTITIONS // 2)
        assert await membership.living() == {membership.instance, instance}
        process.kill()
        await until(membership, lambda share: share == ALL)
        await until_living(membership, frozenset({membership.instance}))


async def test_a_stopped_member_is_given_up_and_joins_again_when_it_goes_on(
    log: KafkaLog, kafka_broker: KafkaBroker, prefix: str
) -> None:
    membership = await log.join("group")
    async with child(kafka_broker, prefix) as (process, instance):
        await until(membership, lambda share: len(share) == PARTITIONS // 2)
        process.send_signal(signal.SIGSTOP)
        await until_living(membership, frozenset({membership.instance}))
        await until(membership, lambda share: share == ALL)
        process.send_signal(signal.SIGCONT)
        await until_living(membership, frozenset({membership.instance, instance}))
        await until(membership, lambda share: len(share) == PARTITIONS // 2)


async def test_what_one_owner_commits_the_next_one_finds(log: KafkaLog) -> None:
    first = await log.join("group")
    assert await first.committed(0) is None
    await first.commit(0, 17)
    assert await first.committed(0) == 17
    await first.leave()
    second = await log.join("group")
    assert await second.committed(0) == 17
    assert await second.committed(1) is None


async def test_a_commit_for_a_partition_that_has_passed_on_changes_nothing(log: KafkaLog) -> None:
    first = await log.join("group")
    second = await log.join("group")
    await until(first, lambda share: len(share) == PARTITIONS // 2)
    (passed_on, *_) = second.partitions
    await second.commit(passed_on, 5)
    await first.commit(passed_on, 3)
    assert await first.committed(passed_on) == 5


async def test_groups_do_not_see_each_other(log: KafkaLog) -> None:
    builders = await log.join("builders")
    auditors = await log.join("auditors")
    assert builders.partitions == auditors.partitions == ALL
    assert await builders.living() == {builders.instance}
