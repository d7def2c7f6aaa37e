"""The log on Postgres."""

import asyncio
from collections.abc import Mapping, Sequence
from weakref import WeakSet

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import LogUnavailable, Membership, NewRecord, PartitionWriter, Place, StoredRecord, Tail
from events.log.postgres.appending import Appender
from events.log.postgres.failures import NotSubmitted
from events.log.postgres.membership import GroupMeans, PostgresMembership
from events.log.postgres.notifier import Notifier
from events.log.postgres.pushing import Channels
from events.log.postgres.reading import read_range
from events.log.postgres.retention import keep_expiring
from events.log.postgres.schema import ensure_schema
from events.log.postgres.server import Pool, Server
from events.log.postgres.sessions import Sessions
from events.log.postgres.statements import CHECK, ENDS
from events.log.postgres.submitting import Submitter
from events.log.postgres.tail import PostgresTail
from events.log.postgres.wakeups import Hub, hub_of
from events.log.postgres.writer import Means, take_over

LIMIT_SECONDS = 10.0


class PostgresLog:
    """A log in a Postgres database, over eight connections at most. It is made by `open`, ended by `close`.

    Commands and steps have reached the disk when they are acknowledged. Results and output have not: the
    commit of the step that answers a result makes both durable.
    """

    def __init__(
        self, server: Server, hub: Hub, channels: Channels, durable: Pool, lazy: Pool, means: Means
    ) -> None:
        self._server = server
        self._hub = hub
        self._durable = durable
        self._lazy = lazy
        self._means = means
        self._sessions = Sessions(server, hub, channels)
        self._submitter = Submitter(durable, lazy, means.notifier, channels)
        self._memberships: WeakSet[PostgresMembership] = WeakSet()
        self._expiring = asyncio.create_task(keep_expiring(lazy, means.partition_count))

    @classmethod
    async def open(
        cls,
        url: str,
        partition_count: int = 8,
        *,
        lease_seconds: float = 10.0,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> "PostgresLog":
        """Connect to `postgresql://…`, and make the tables where there are none.

        A member of a group that gives no sign of life for `lease_seconds` is expelled; an operation that
        takes longer than `limit_seconds` fails. Raises LogUnavailable, and LogUnfit where the log was made
        with another number of partitions, or by another version.
        """
        server, hub = Server(url, limit_seconds), hub_of(url)
        channels = await ensure_schema(server, partition_count)
        durable = Pool(server, waits_for_disk=True)
        lazy = Pool(server, waits_for_disk=False)
        appender = Appender(durable, lease_seconds, channels)
        means = Means(durable, lazy, Notifier(server, hub), appender, partition_count, lease_seconds)
        return cls(server, hub, channels, durable, lazy, means)

    @property
    def partition_count(self) -> int:
        """The number of partitions of every topic; it never changes."""
        return self._means.partition_count

    async def submit(self, topic: Topic, records: Sequence[NewRecord]) -> list[tuple[Place, int]]:
        """Write records to commands, results or output, each to its project's home partition.

        Those of one partition are written all or none. Raises LogUnavailable, after which some partitions
        may have theirs, and NotSubmitted.
        """
        if topic in (Topic.EVENTS, Topic.REJECTIONS):
            raise NotSubmitted(f"{NotSubmitted.__doc__} {topic}")
        homes = [Place(topic, home_partition(record.key, self.partition_count)) for record in records]
        own: dict[Place, list[NewRecord]] = {}
        for place, record in zip(homes, records, strict=True):
            own.setdefault(place, []).append(record)
        starts = await self._submitter.submit_to_all(own)
        written = []
        for place in homes:
            written.append((place, starts[place]))
            starts[place] += 1
        return written

    async def take_over(self, partition: int, instance: str) -> PartitionWriter:
        """Fence every earlier writer of the partition's history, then read where it ended."""
        return await take_over(self._means, partition, instance)

    async def read(self, place: Place, start: int, end: int | None = None) -> Sequence[StoredRecord]:
        """The next records in [start, end), some of them; empty when there are none (yet).

        Where the first have been deleted, reading goes on with what is left.
        """
        return await read_range(self._durable, place, start, end)

    async def ends(self, topic: Topic) -> Mapping[int, int]:
        """The offset behind the last committed record, by partition."""
        rows = await self._durable.fetch(f"asking for the ends of {topic}", ENDS, topic.value)
        return {row["partition"]: row["next_offset"] for row in rows}

    def tail(self) -> Tail:
        """A reader that follows places. After LogUnavailable it is over: positions may have been lost."""
        return PostgresTail(self._server, self._sessions, self._hub)

    async def join(self, group: str) -> Membership:
        """Become a member of a group among whose instances the partitions are shared out."""
        means = self._means
        shared = (means.durable, means.lazy, means.notifier, self._sessions, self._hub)
        membership = PostgresMembership(GroupMeans(*shared, means.partition_count, means.lease_seconds), group)
        await membership.join()
        self._memberships.add(membership)
        return membership

    async def check(self) -> None:
        """Raise LogUnavailable where the log cannot be used now."""
        found = await self._durable.fetch("checking the log", CHECK)
        if any(row["takes_no_writes"] for row in found):
            self._server.leave()
            raise LogUnavailable("checking the log: its server takes no writes")

    async def close(self) -> None:
        """Leave every group, and let go of every connection."""
        self._expiring.cancel()
        for membership in list(self._memberships):
            await membership.leave()
        await self._submitter.close()
        await self._means.appender.close()
        await self._means.notifier.close()
        self._server.close()
        self._sessions.close()
        await self._durable.close()
        await self._lazy.close()
