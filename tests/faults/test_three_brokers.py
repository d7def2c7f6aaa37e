"""Three brokers, of which any two go on without the third, also in the midst of a transaction."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from events.catalogue import Topic
from events.log.kafka import KafkaLog, TopicsUnfit, writer
from events.log.kafka.topics import SPECIFICATIONS
from events.log.port import LogUnavailable, Membership, PartitionWriter, Positions, Step
from servers.kafka_cluster import KafkaCluster
from servers.kafka_node import KafkaNode
from servers.proxy import HeldRequest, KafkaProxy, proxies
from support.kafka_log import (
    EVENTS,
    FIRST,
    PARTITIONS,
    REJECTIONS,
    SECOND,
    WHOLE,
    fresh_prefix,
    opened_log,
    record,
    texts,
)

FAULTS_SECONDS = 240.0
SETTLING_SECONDS = 120.0
HEALING_SECONDS = 60.0
GOING_ON_SECONDS = 60.0
CHECKS = 10
CHECK_EVERY_SECONDS = 0.2

ResultT = TypeVar("ResultT")
pytestmark = pytest.mark.timeout(FAULTS_SECONDS + 2 * SETTLING_SECONDS)


@pytest.fixture(scope="module")
def cluster(session_runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Three brokers of this module's own, that each test leaves whole."""
    made = KafkaCluster(tmp_path_factory.mktemp("cluster"))
    try:
        session_runner.run(made.start())
        yield made
    finally:
        session_runner.run(made.stop())


@asynccontextmanager
async def without(cluster: KafkaCluster, node: KafkaNode) -> AsyncIterator[None]:
    """Goes on when the node, killed in the block, runs again."""
    try:
        yield
    finally:
        if not node.is_running:
            await node.start()
        await cluster.until_whole()


@asynccontextmanager
async def admin_of(cluster: KafkaCluster) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def until_taken_over(log: KafkaLog) -> PartitionWriter:
    async with asyncio.timeout(HEALING_SECONDS):
        while True:
            try:
                return await log.take_over(0, "two")
            except LogUnavailable:
                continue  # each attempt takes its time


async def test_topics_on_three_brokers_have_three_replicas_of_which_two_acknowledge(cluster: KafkaCluster) -> None:
    prefix = fresh_prefix()
    async with opened_log(cluster.bootstrap, prefix) as log, admin_of(cluster) as admin:
        assert log.replicas == 3
        topics = await cluster.topics([f"{prefix}{topic}" for topic in Topic])
        assert {len(one["replicas"]) for topic in topics for one in topic["partitions"]} == {3}
        (response,) = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, f"{prefix}{topic}") for topic in Topic]
        )
        settings = [dict(entry[:2] for entry in entries) for *_, entries in response.resources]
        assert [found["min.insync.replicas"] for found in settings] == ["2"] * len(Topic)


@pytest.mark.parametrize(
    ("replicas", "in_sync", "fault"),
    [(1, "1", "1 replicas, not 3"), (3, "1", "min.insync.replicas is 1, not 2: one broker alone would")],
)
async def test_topics_that_would_lose_with_one_of_three_brokers_what_they_acknowledged_are_refused(
    cluster: KafkaCluster, replicas: int, in_sync: str, fault: str
) -> None:
    prefix = fresh_prefix()
    settings = SPECIFICATIONS[Topic.EVENTS].settings() | {"min.insync.replicas": in_sync}
    topic = NewTopic(f"{prefix}{Topic.EVENTS}", PARTITIONS, replicas, topic_configs=settings)
    async with admin_of(cluster) as admin:
        await admin.create_topics([topic])
    with pytest.raises(TopicsUnfit) as refused:
        await KafkaLog.open(cluster.bootstrap, PARTITIONS, topic_prefix=prefix)
    assert f"{prefix}{Topic.EVENTS}: {fault}" in str(refused.value)
    assert str(Topic.RESULTS) not in str(refused.value)


Kill = Callable[[], None]
Dying = Callable[[pytest.MonkeyPatch, Sequence[KafkaProxy], Kill, Awaitable[int]], Awaitable[int]]
"""Kills the coordinator at some moment of a step, and returns what the step does."""


async def before_its_end(
    monkeypatch: pytest.MonkeyPatch, between: Sequence[KafkaProxy], kill: Kill, appending: Awaitable[int]
) -> int:
    """When all has been sent, and the end of the transaction has not."""
    with monkeypatch.context() as patched:
        patched.setattr(writer, "failpoint", lambda name: kill())
        return await appending


async def while_it_commits(
    monkeypatch: pytest.MonkeyPatch, between: Sequence[KafkaProxy], kill: Kill, appending: Awaitable[int]
) -> int:
    """When the end of the transaction is on its way. What is sent again finds its way."""
    held = [proxy.hold_end_of_transaction() for proxy in between]
    step = asyncio.ensure_future(appending)
    await _any_arrived(held)
    kill()
    for one in held:
        one.released.set()
    return await step


async def _any_arrived(held: Sequence[HeldRequest]) -> None:
    arriving = [asyncio.create_task(one.arrived.wait()) for one in held]
    await asyncio.wait(arriving, return_when=asyncio.FIRST_COMPLETED)
    for one in arriving:
        one.cancel()


@pytest.mark.parametrize("dying", [before_its_end, while_it_commits])
async def test_a_step_is_known_aborted_or_committed_when_its_coordinator_dies_before_its_end(
    cluster: KafkaCluster, monkeypatch: pytest.MonkeyPatch, dying: Dying
) -> None:
    prefix = fresh_prefix()
    async with (
        asyncio.timeout(FAULTS_SECONDS),
        proxies([node.port for node in cluster.nodes.values()]) as between,
        opened_log(",".join(proxy.bootstrap for proxy in between), prefix) as log,
        opened_log(cluster.bootstrap, prefix) as others,
    ):
        first = await log.take_over(0, "one")
        await first.append(FIRST)
        coordinator = await cluster.coordinator(f"{prefix}autopack-history-0")
        async with without(cluster, coordinator):
            try:
                await dying(monkeypatch, between, coordinator.kill, first.append(SECOND))
                is_acknowledged = True
            except LogUnavailable:
                is_acknowledged = False
            assert not coordinator.is_running
            second = await until_taken_over(others)
            history = await texts(others, EVENTS)
            assert history in ([["first", *WHOLE]] if is_acknowledged else [["first"], ["first", *WHOLE]])
            assert second.positions == (Positions(1, 0) if history == ["first"] else Positions(2, 0))
            await second.append(Step([record("third")], positions=Positions(3, 0)))
            assert await texts(others, EVENTS) == [*history, "third"]
            assert set(await texts(others, REJECTIONS)) <= {"rejected"}
        assert await texts(others, EVENTS) == [*history, "third"]


async def test_a_log_is_usable_all_the_time_that_one_of_three_brokers_is_gone(cluster: KafkaCluster) -> None:
    """Whoever asks whether it is ready is not told by chance of the broker that was asked; and not of the time
    before others have taken over what the one had led.
    """
    async with asyncio.timeout(FAULTS_SECONDS), opened_log(cluster.bootstrap, fresh_prefix()) as log:
        membership = await log.join("group")
        gone = cluster.nodes[1]
        async with without(cluster, gone):
            assert 1 in await leaders(cluster)
            gone.kill()
            checks, began = 0, asyncio.get_running_loop().time()
            while checks < CHECKS or 1 in await leaders(cluster):
                await log.check()
                checks += 1
                await asyncio.sleep(CHECK_EVERY_SECONDS)
            took = asyncio.get_running_loop().time() - began
            print(f"usable at each of {checks} looks in the {took:.1f} s until others had taken over")
            while membership.instance not in await living(membership):
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("role", ["leads", "coordinates"])
async def test_a_history_goes_on_soon_after_one_of_three_brokers_has_fallen_silent(
    cluster: KafkaCluster, role: str
) -> None:
    """Connections to it stand, and it answers nothing: whoever has one has to find out, and ask another."""
    prefix = fresh_prefix()
    async with asyncio.timeout(FAULTS_SECONDS), opened_log(cluster.bootstrap, prefix) as log:
        owner = await log.take_over(0, "one")
        await owner.append(FIRST)
        await log.submit(Topic.RESULTS, [record("result")])
        assert await texts(log, EVENTS) == ["first"]
        if role == "coordinates":
            silent = await cluster.coordinator(f"{prefix}autopack-history-0")
        else:
            (topic,) = await cluster.topics([f"{prefix}{Topic.EVENTS}"])
            silent = cluster.nodes[next(p["leader"] for p in topic["partitions"] if p["partition"] == 0)]
        async with continued(cluster, silent):
            silent.pause()
            began = asyncio.get_running_loop().time()
            async with asyncio.timeout(GOING_ON_SECONDS):
                await until_written(log, owner, Step([record("second")], positions=Positions(2, 0)))
                written = asyncio.get_running_loop().time() - began
                while await tried(log.submit(Topic.RESULTS, [record("result")])) is None:
                    pass
                while await tried(texts(log, EVENTS)) != ["first", "second"]:
                    pass
            took = asyncio.get_running_loop().time() - began
            print(f"one that {role}: a step is written after {written:.1f} s, all goes on after {took:.1f} s")


async def until_written(log: KafkaLog, owner: PartitionWriter | None, step: Step) -> None:
    """As a supervisor does it: who cannot write takes over anew, and writes what has not been written."""
    while True:
        owner = owner or await tried(log.take_over(0, "one"))
        if owner is None:
            continue
        if owner.positions == step.positions or await tried(owner.append(step)) is not None:
            return
        owner = None


async def tried(attempt: Awaitable[ResultT]) -> ResultT | None:
    """What comes of it; None, where the log is not available, which it takes its time to say."""
    try:
        return await attempt
    except LogUnavailable:
        return None


@asynccontextmanager
async def continued(cluster: KafkaCluster, node: KafkaNode) -> AsyncIterator[None]:
    """Lets the node, paused in the block, go on."""
    try:
        yield
    finally:
        node.resume()
        await cluster.until_whole()


async def leaders(cluster: KafkaCluster) -> set[int]:
    """Who leads some partition, as far as it is known: nobody knows while it is asked of a broker that is gone."""
    try:
        return {one["leader"] for topic in await cluster.topics() for one in topic["partitions"]}
    except (KafkaError, OSError):
        return {1}


async def living(membership: Membership) -> frozenset[str]:
    try:
        return await membership.living()
    except LogUnavailable:
        return frozenset()
