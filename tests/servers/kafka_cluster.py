"""A real cluster of three Kafka nodes, each a broker and a controller: any two of them do without the third."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from servers.kafka_node import START_LIMIT_SECONDS, BrokerDidNotStart, KafkaNode
from servers.kafka_settings import node_of_three
from servers.ports import free_ports

T = TypeVar("T")

NODES = (1, 2, 3)
LOOK_SECONDS = 0.1
TRANSACTIONAL = 1
"""The kind of coordinator that `find_coordinator` is asked for."""


class KafkaCluster:
    """Three nodes in a folder, to be stopped, killed, paused and started again one by one."""

    def __init__(self, folder: Path) -> None:
        ports, controllers = free_ports(len(NODES) * 2), {}
        for node_id in NODES:
            controllers[node_id] = ports.pop()
        self.nodes: Mapping[int, KafkaNode] = {
            node_id: _node(folder.absolute() / f"node-{node_id}", node_id, port, controllers)
            for node_id, port in zip(NODES, ports, strict=True)
        }

    @property
    def bootstrap(self) -> str:
        """The addresses for clients, `host:port,host:port,host:port`."""
        return ",".join(node.bootstrap for node in self.nodes.values())

    async def start(self) -> None:
        """Start all nodes, and return when they are one cluster. Raises BrokerDidNotStart, in a group."""
        for node in self.nodes.values():
            await node.format()
        async with asyncio.TaskGroup() as group:
            for node in self.nodes.values():
                group.create_task(node.start())
        await self.until_whole()

    async def stop(self) -> None:
        """Shut down every node that runs, by force: together they would wait for each other to hand over."""
        for node in self.nodes.values():
            if node.is_running:
                node.kill()

    async def until_whole(self) -> None:
        """Wait until all nodes live and every replica has caught up. Raises BrokerDidNotStart."""
        try:
            async with asyncio.timeout(START_LIMIT_SECONDS):
                while not await self._is_whole():
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise BrokerDidNotStart(f"no whole cluster within {START_LIMIT_SECONDS} s") from None

    async def coordinator(self, transactional_id: str) -> KafkaNode:
        """The node that coordinates the transactions of an id."""
        return self.nodes[await _asked(partial(self._coordinator, transactional_id))]

    async def topics(self, names: Sequence[str] | None = None) -> list[Mapping[str, Any]]:
        """What is known of topics: their partitions, and of each its leader, replicas, and those in sync."""
        return await _asked(partial(self._topics, names))

    async def _coordinator(self, transactional_id: str) -> int:
        async with _Admin(self.bootstrap) as admin:
            return int(await admin.find_coordinator(transactional_id, TRANSACTIONAL))

    async def _topics(self, names: Sequence[str] | None) -> list[Mapping[str, Any]]:
        async with _Admin(self.bootstrap) as admin:
            found: list[Mapping[str, Any]] = await admin.describe_topics(names)
        known = {topic["topic"] for topic in found if not topic["error_code"]}
        assert known.issuperset(names or ()), "the broker that was asked has not heard of all yet"
        return found

    async def _is_whole(self) -> bool:
        try:
            async with _Admin(self.bootstrap) as admin:
                if len((await admin.describe_cluster())["brokers"]) < len(NODES):
                    return False
                partitions = [one for topic in await admin.describe_topics() for one in topic["partitions"]]
        except (KafkaError, OSError, AssertionError):
            return False
        return all(sorted(one["isr"]) == sorted(one["replicas"]) for one in partitions)


async def _asked(question: Callable[[], Awaitable[T]]) -> T:
    """Ask until it is answered: any broker is asked, and the one that is may be away, or busy, or behind."""
    clock = asyncio.get_running_loop().time
    until = clock() + START_LIMIT_SECONDS
    while True:
        try:
            return await question()
        except (KafkaError, OSError, AssertionError):
            if clock() > until:
                raise
            await asyncio.sleep(LOOK_SECONDS)


class _Admin(AIOKafkaAdminClient):  # type: ignore[misc]  # the library has no types
    def __init__(self, bootstrap: str) -> None:
        super().__init__(bootstrap_servers=bootstrap, request_timeout_ms=3_000)

    async def __aenter__(self) -> "_Admin":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _node(folder: Path, node_id: int, port: int, controllers: Mapping[int, int]) -> KafkaNode:
    return KafkaNode(folder, port, node_of_three(node_id, folder / "log", port, controllers), heap="320m")
