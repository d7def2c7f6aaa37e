"""The log on Kafka."""

from collections.abc import Mapping, Sequence

from events.catalogue import Topic
from events.log.kafka.admin import Admin
from events.log.kafka.clients import Clients
from events.log.kafka.connection import Connection, Security, Timing
from events.log.kafka.durability import Durability, unusable
from events.log.kafka.endings import Endings
from events.log.kafka.failures import within
from events.log.kafka.library import tune
from events.log.kafka.membership import KafkaMembership
from events.log.kafka.offsets import Offsets
from events.log.kafka.probing import refusal
from events.log.kafka.reader import RangeReader
from events.log.kafka.records import TopicNames, stored
from events.log.kafka.submitting import Submitter
from events.log.kafka.tail import KafkaTail
from events.log.kafka.taking_over import take_over
from events.log.kafka.topics import Wanted, ensure_topics
from events.log.port import (
    LogUnavailable,
    LogUnfit,
    Membership,
    NewRecord,
    PartitionWriter,
    Place,
    StoredRecord,
    Tail,
)


class KafkaLog:
    """A log on a Kafka cluster. It is made by `open`, and ended by `close`."""

    def __init__(self, clients: Clients, partition_count: int, durability: Durability) -> None:
        self._clients = clients
        self._partition_count = partition_count
        self._durability = durability
        self._submitter = Submitter(clients.connection, clients.names, partition_count, clients.endings)

    @classmethod
    async def open(
        cls,
        bootstrap: str,
        partition_count: int = 8,
        *,
        security: Security | None = None,
        timing: Timing | None = None,
        topic_prefix: str = "",
        replication_factor: int | None = None,
    ) -> "KafkaLog":
        """Connect to `host:port[,host:port…]`, make the topics that are missing, and verify all of them.

        Logs with different prefixes share a cluster and nothing else. Without a replication factor topics
        are to have three replicas where there are as many brokers, else one; they are made when as many
        brokers live as the address names, or three of them. Raises LogUnavailable, LogUnfit where the brokers
        refuse us or the address cannot be meant, and TopicsUnfit, one of those, where the topics that exist
        are not as the log needs them.
        """
        tune()
        connection = Connection(bootstrap, security or Security(), timing or Timing())
        names = TopicNames(topic_prefix)
        wanted = Wanted(partition_count, replication_factor, bootstrap.count(",") + 1)
        endings = Endings()
        try:
            admin = Admin(**connection.admin_settings())
        except (ValueError, AssertionError) as error:
            raise LogUnfit(f"the log at {bootstrap}: {error}") from error
        try:
            async with within(connection.timing.opening_seconds, f"opening the log at {bootstrap}"):
                await admin.start()
                durability = await ensure_topics(admin, names, wanted)
        except LogUnavailable as error:
            await _end(endings, admin, connection.timing)
            if (refused := await refusal(connection)) is not None:
                raise LogUnfit(f"the log at {bootstrap} refuses us: {refused!r}") from error
            raise
        except BaseException:
            await _end(endings, admin, connection.timing)
            raise
        offsets = Offsets(connection, names, endings)
        reader = RangeReader(connection, names, offsets, endings)
        return cls(Clients(connection, names, admin, offsets, reader, endings), partition_count, durability)

    @property
    def partition_count(self) -> int:
        """The number of partitions of every topic; it never changes."""
        return self._partition_count

    @property
    def replicas(self) -> int:
        """How many brokers come to hold each record, at least."""
        return self._durability.replicas

    async def submit(self, topic: Topic, records: Sequence[NewRecord]) -> list[tuple[Place, int]]:
        """Write records to commands, results or output, each to its project's home partition."""
        return await self._submitter.submit(topic, records)

    async def take_over(self, partition: int, instance: str) -> PartitionWriter:
        """Fence every earlier writer of the partition's history, then read where it ended."""
        return await take_over(self._clients, partition, instance)

    async def read(self, place: Place, start: int, end: int | None = None) -> Sequence[StoredRecord]:
        """The next records in [start, end), some of them; empty when there are none (yet).

        Where the first have been deleted, reading goes on with what is left; not so in the history, which
        raises HistoryCutOff.
        """
        return [stored(place, record) for record in await self._clients.reader.read(place, start, end)]

    async def ends(self, topic: Topic) -> Mapping[int, int]:
        """The offset behind the last committed record, by partition."""
        return await self._clients.reader.ends(topic, self._partition_count)

    def tail(self) -> Tail:
        """A reader that follows places."""
        return KafkaTail(self._clients)

    async def join(self, group: str) -> Membership:
        """Become a member of a group among whose instances the partitions are shared out."""
        membership = KafkaMembership(self._clients, group)
        await membership.join()
        return membership

    async def check(self) -> None:
        """Raise LogUnavailable where the log cannot be used now."""
        names = [self._clients.names.name(topic) for topic in Topic]
        async with within(self._clients.timing.checking_seconds, "checking the log"):
            described = await self._clients.admin.describe_topics(names)
        if found := unusable(described, self._durability.in_sync):
            raise LogUnavailable(f"checking the log: {', '.join(found)}")

    async def close(self) -> None:
        """Let go of every connection, of writers, tails and memberships too."""
        self._clients.endings.begin(self._clients.admin.close())
        await self._clients.endings.finish(self._clients.timing.closing_seconds)


async def _end(endings: Endings, admin: Admin, timing: Timing) -> None:
    endings.begin(admin.close())
    await endings.finish(timing.closing_seconds)
