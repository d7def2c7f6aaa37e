"""Membership in a group: which partitions are one's own, and who else lives."""

import asyncio
import logging
import secrets
from collections.abc import Collection
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, NoError, for_code
from aiokafka.structs import TopicPartition

from events.catalogue import Topic
from events.log.kafka.clients import Clients
from events.log.kafka.endings import stop
from events.log.kafka.failures import within
from events.log.port import LogUnavailable, Place

LOOK_MILLISECONDS = 1_000
JOIN_AGAIN_SECONDS = 1.0
logger = logging.getLogger(__name__)


class KafkaMembership:
    """A consumer that is in the group for the sake of membership and commits, and reads nothing.

    The server takes all partitions from all members whenever one comes or goes, and gives most of them back
    a moment later. What is being shared out anew is therefore given up only when it was given to somebody
    else, or to nobody for `rebalance_seconds`: its owners need not stop and start, and the history fences
    those who hear of their loss too late.
    """

    def __init__(self, clients: Clients, group: str) -> None:
        self._clients = clients
        self._group = clients.names.group(group)
        self._instance = f"{group}-{secrets.token_hex(8)}"
        self._consumer: AIOKafkaConsumer | None = None
        self._watching: asyncio.Task[None] | None = None
        self._giving_up: asyncio.TimerHandle | None = None
        self._partitions: frozenset[int] = frozenset()
        self._changed = asyncio.Event()

    @property
    def instance(self) -> str:
        """The id of this instance in the group: the client id of its consumer, by which others see it."""
        return self._instance

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that are this instance's own at the moment."""
        return self._partitions

    async def join(self) -> None:
        """Become a member, and wait for the first share. Raises LogUnavailable."""
        await self._join()
        self._clients.endings.opened(self)
        self._watching = asyncio.create_task(self._watch())

    @property
    def is_expelled(self) -> bool:
        """Never for good: the library joins again by itself."""
        return False

    async def changed(self, known: frozenset[int]) -> frozenset[int]:
        """Wait until the own partitions differ from `known`, and return them."""
        while self._partitions == known:
            await self._changed.wait()
        return self._partitions

    async def living(self) -> frozenset[str]:
        """The instances of the group that live. Raises LogUnavailable."""
        async with within(self._clients.timing.checking_seconds, f"asking who lives in {self._group}"):
            responses = await self._clients.admin.describe_consumer_groups([self._group])
            (group,) = (group for response in responses for group in response.groups)
            code, _, _, _, _, members, *_ = group
            if (error := for_code(code)) is not NoError:
                raise error(self._group)
        return frozenset(client_id for _, client_id, *_ in members)

    async def committed(self, partition: int) -> int | None:
        """The history offset up to which the group needs to read no more. Raises LogUnavailable."""
        async with within(self._clients.timing.checking_seconds, f"asking what {self._group} has committed"):
            offset: int | None = await self._member().committed(self._tracked(partition))
            return offset

    async def commit(self, partition: int, offset: int) -> None:
        """Commit such an offset. Raises LogUnavailable. When the partition has just been given to another
        instance, the server refuses, and nothing is lost: the other reads a little more.
        """
        async with within(self._clients.timing.checking_seconds, f"committing for {self._group}"):
            with suppress(CommitFailedError, IllegalStateError):
                await self._member().commit({self._tracked(partition): offset})

    async def leave(self) -> None:
        """Leave the group at once."""
        self._clients.endings.closed(self)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        self.assigned(frozenset())
        if self._consumer is not None:
            ending = self._clients.endings.begin(stop(self._consumer))
            self._consumer = None
            await asyncio.wait({ending}, timeout=self._clients.timing.closing_seconds)

    async def close(self) -> None:
        """Leave the group."""
        await self.leave()

    def revoked(self) -> None:
        """Everything is being shared out anew."""
        if self._giving_up is None and self._partitions:
            delay = self._clients.timing.rebalance_seconds
            self._giving_up = asyncio.get_running_loop().call_later(delay, self.assigned, frozenset())

    def assigned(self, partitions: frozenset[int]) -> None:
        """These partitions are this instance's own now."""
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        if partitions != self._partitions:
            self._partitions = partitions
            self._changed.set()
            self._changed = asyncio.Event()

    async def _join(self) -> None:
        settings = self._clients.connection.member_settings(self._group, self._instance)
        consumer = AIOKafkaConsumer(**settings)
        consumer.subscribe([self._clients.names.name(Topic.EVENTS)], listener=_Listener(self, consumer))
        try:
            async with within(self._clients.timing.joining_seconds, f"joining {self._group}"):
                await consumer.start()
        except BaseException:
            self._clients.endings.begin(stop(consumer))
            raise
        self._consumer = consumer

    async def _watch(self) -> None:
        """Join anew when the library has given up: it tells its errors to those who read, and to nobody else."""
        while True:
            try:
                await self._member().getmany(timeout_ms=LOOK_MILLISECONDS)
            except KafkaError as error:
                logger.warning("%s has lost its place in %s: %r", self._instance, self._group, error)
                await self._join_again()

    async def _join_again(self) -> None:
        self._clients.endings.begin(stop(self._member()))
        self._consumer = None
        self.revoked()
        while True:
            try:
                return await self._join()
            except LogUnavailable as error:
                logger.warning("%s", error)
                await asyncio.sleep(JOIN_AGAIN_SECONDS)

    def _member(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise LogUnavailable(f"{self._instance} is no member of {self._group} now")
        return self._consumer

    def _tracked(self, partition: int) -> TopicPartition:
        return self._clients.names.partition(Place(Topic.EVENTS, partition))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """Takes note and returns: heartbeats stand still while the library waits for it."""

    def __init__(self, membership: KafkaMembership, consumer: AIOKafkaConsumer) -> None:
        self._membership = membership
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """The group begins to share out its partitions anew."""
        self._membership.revoked()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """The group has shared them out."""
        self._consumer.pause(*assigned)
        self._membership.assigned(frozenset(partition.partition for partition in assigned))
