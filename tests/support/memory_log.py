"""A log in memory, for tests of what stands on the port: whole, but with no server that could be away by itself.

What a server does by itself is done by the test: `now` is the log's clock, `away` takes it away, `expel` gives
a member up.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import (
    Fenced,
    HistoryCutOff,
    LogUnavailable,
    Membership,
    Missing,
    NewRecord,
    PartitionWriter,
    Place,
    Positions,
    Step,
    StoredRecord,
    Tail,
)
from support.scenario import START

PAGE_RECORDS = 50


class MemoryLog:
    """Offsets are contiguous, from 0, in every place."""

    def __init__(self, partition_count: int = 1) -> None:
        self.partition_count = partition_count
        self.now: datetime = START
        self.away = False
        self.records: dict[Place, list[StoredRecord]] = defaultdict(list)
        self.first: dict[Place, int] = defaultdict(int)
        self.positions: dict[int, Positions] = defaultdict(Positions)
        self.epochs: dict[int, int] = defaultdict(int)
        self.groups: dict[str, list[MemoryMembership]] = defaultdict(list)
        self.committed: dict[tuple[str, int], int] = {}
        self.steps: list[Step] = []
        self.joined = 0
        self.came = asyncio.Event()

    def write(self, place: Place, record: NewRecord) -> int:
        """Write a record; its offset."""
        offset = len(self.records[place])
        stored = StoredRecord(
            place.topic, place.partition, offset, record.key, record.value, dict(record.headers), self.now
        )
        self.records[place].append(stored)
        self.wake()
        return offset

    def wake(self) -> None:
        """Wake whoever waits for something new."""
        self.came.set()
        self.came = asyncio.Event()

    def present(self) -> None:
        """Raise LogUnavailable where the log is away."""
        if self.away:
            raise LogUnavailable("the log is away")

    async def submit(self, topic: Topic, records: Sequence[NewRecord]) -> list[tuple[Place, int]]:
        await asyncio.sleep(0)
        self.present()
        places = [Place(topic, home_partition(record.key, self.partition_count)) for record in records]
        return [(place, self.write(place, record)) for place, record in zip(places, records, strict=True)]

    async def take_over(self, partition: int, instance: str) -> PartitionWriter:
        await asyncio.sleep(0)
        self.present()
        self.epochs[partition] += 1
        return MemoryWriter(self, partition)

    async def read(self, place: Place, start: int, end: int | None = None) -> Sequence[StoredRecord]:
        await asyncio.sleep(0)
        self.present()
        if place.topic is Topic.EVENTS and start < self.first[place]:
            raise HistoryCutOff(place, start, self.first[place])
        return self.records[place][max(start, self.first[place]) : end][:PAGE_RECORDS]

    async def ends(self, topic: Topic) -> Mapping[int, int]:
        await asyncio.sleep(0)
        self.present()
        return {number: len(self.records[Place(topic, number)]) for number in range(self.partition_count)}

    def tail(self) -> Tail:
        return MemoryTail(self)

    async def join(self, group: str) -> Membership:
        await asyncio.sleep(0)
        self.present()
        self.joined += 1
        member = MemoryMembership(self, group, f"{group}-{self.joined}")
        self.groups[group].append(member)
        self.share_out(group)
        return member

    def share_out(self, group: str) -> None:
        """The i-th of n members owns the partitions whose number leaves i modulo n."""
        members = self.groups[group]
        for i, member in enumerate(members):
            member.partitions = frozenset(p for p in range(self.partition_count) if p % len(members) == i)
        self.wake()

    def expel(self, group: str, instance: str) -> None:
        """Give a member up."""
        for member in self.groups[group]:
            if member.instance == instance:
                member.partitions = frozenset()
        self.groups[group] = [member for member in self.groups[group] if member.instance != instance]
        self.share_out(group)

    async def check(self) -> None:
        self.present()

    async def close(self) -> None:
        self.wake()


class MemoryWriter:
    """Fenced by a later taking over."""

    def __init__(self, log: MemoryLog, partition: int) -> None:
        self._log = log
        self._partition = partition
        self._epoch = log.epochs[partition]
        self.positions = log.positions[partition]
        self.end = len(log.records[Place(Topic.EVENTS, partition)])

    async def append(self, step: Step) -> int:
        await asyncio.sleep(0)
        await self.renew()
        self._log.steps.append(step)
        events, rejections = Place(Topic.EVENTS, self._partition), Place(Topic.REJECTIONS, self._partition)
        for record in step.events:
            self._log.write(events, record)
        for record in step.rejections:
            self._log.write(rejections, record)
        for forward in step.forwards:
            self._log.write(Place(forward.topic, forward.partition), forward.record)
        if step.events or step.rejections:  # as on Kafka: forwards alone keep no positions
            self._log.positions[self._partition] = step.positions
        return len(self._log.records[events])

    async def delete_before(self, positions: Positions) -> None:
        await self.renew()
        written = self._log.positions[self._partition]
        if positions.commands > written.commands or positions.results > written.results:
            raise ValueError("no written step has passed what is to be deleted")
        for topic, offset in ((Topic.COMMANDS, positions.commands), (Topic.RESULTS, positions.results)):
            self._log.first[Place(topic, self._partition)] = offset

    async def renew(self) -> None:
        self._log.present()
        if self._log.epochs[self._partition] != self._epoch:
            raise Fenced

    async def close(self) -> None:
        return


class MemoryTail:
    """Follows places."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._at: dict[Place, int] = {}
        self._missing: list[Missing] = []

    def follow(self, place: Place, offset: int, prompt: Collection[str] | None = None) -> None:
        self._at[place] = offset

    def unfollow(self, place: Place) -> None:
        self._at.pop(place, None)

    async def batches(self, wait_seconds: float) -> Mapping[Place, Sequence[StoredRecord]]:
        came = self._log.came
        found = await self._found()
        if found:
            return found
        try:
            async with asyncio.timeout(wait_seconds):
                await came.wait()
        except TimeoutError:
            return {}
        return await self._found()

    def take_missing(self) -> Sequence[Missing]:
        found, self._missing = self._missing, []
        return found

    async def close(self) -> None:
        self._at.clear()

    async def _found(self) -> dict[Place, Sequence[StoredRecord]]:
        for place, at in list(self._at.items()):
            if at < (first := self._log.first[place]) and place.topic is not Topic.EVENTS:
                self._missing.append(Missing(place, at, first))
                self._at[place] = first
        found = {place: await self._log.read(place, at) for place, at in list(self._at.items())}
        for place, records in found.items():
            if records:
                self._at[place] = records[-1].offset + 1
        return {place: records for place, records in found.items() if records}


class MemoryMembership:
    """One instance's part in a group."""

    def __init__(self, log: MemoryLog, group: str, instance: str) -> None:
        self._log = log
        self._group = group
        self.instance = instance
        self.partitions: frozenset[int] = frozenset()

    @property
    def is_expelled(self) -> bool:
        return self not in self._log.groups[self._group]

    async def changed(self, known: frozenset[int]) -> frozenset[int]:
        while self.partitions == known:
            await self._log.came.wait()
        return self.partitions

    async def living(self) -> frozenset[str]:
        await asyncio.sleep(0)
        self._log.present()
        return frozenset(member.instance for member in self._log.groups[self._group])

    async def committed(self, partition: int) -> int | None:
        self._log.present()
        return self._log.committed.get((self._group, partition))

    async def commit(self, partition: int, offset: int) -> None:
        self._log.present()
        self._log.committed[self._group, partition] = offset

    async def leave(self) -> None:
        self._log.expel(self._group, self.instance)
