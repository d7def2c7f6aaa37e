"""Following the history: which partitions, from where, and how far behind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from events.catalogue import Topic
from events.codec import UnreadableRecord
from events.families.work import WorkRevoked, WorkStarted
from events.log.port import EventLog, HistoryCutOff, Membership, Place, StoredRecord, Tail
from events.log.telling import told
from services.runner.open_requests import OpenRequests
from services.runner.worker import WorkerTraits


@dataclass(slots=True)
class Followed:
    """One partition that is being folded. Nothing is claimed in it before it has `caught_up`.

    `unreadable` names the record that this version cannot read, or that is not there any more: beyond it the
    partition is not folded.
    """

    partition: int
    requests: OpenRequests
    position: int
    target: int
    unreadable: str | None = None

    @property
    def caught_up(self) -> bool:
        """Everything that stood in the history when following began, or was to catch up, has been folded."""
        return self.unreadable is None and self.position >= self.target

    def fold(self, records: Iterable[StoredRecord]) -> None:
        """Take in the next records, up to one that cannot be read."""
        for record in records:
            try:
                self.requests.fold(record)
            except UnreadableRecord as error:
                self.unreadable = f"{told(record)}: {error.message}"
                return
            self.position = record.offset + 1

    @property
    def committable(self) -> int:
        """The offset from which a new owner must read."""
        oldest = self.requests.oldest_offset()
        return self.position if oldest is None else oldest


CLAIMED = WorkStarted.__name__


def _waited_for(traits: WorkerTraits) -> set[str]:
    """The events that make a worker begin something, or stop. Whatever else happens may be known later."""
    return {WorkRevoked.__name__, *(event.__name__ for event in traits.requests)}


class Following:
    """The partitions of one worker: its own, and those in which it still has work running."""

    def __init__(self, log: EventLog, membership: Membership, traits: WorkerTraits) -> None:
        self._log = log
        self._membership = membership
        self._traits = traits
        self._tail: Tail = log.tail()
        self._prompt: set[str] | None = _waited_for(traits)
        self.followed: dict[int, Followed] = {}

    def positions(self) -> Mapping[Place, int]:
        """The next offset to be read of each partition that can be read."""
        followed = self.followed.values()
        return {Place(Topic.EVENTS, one.partition): one.position for one in followed if one.unreadable is None}

    async def adjust(self, own: frozenset[int], busy: frozenset[int]) -> None:
        """Begin to follow what is newly ours; leave what is neither ours nor busy."""
        for partition in set(self.followed) - own - busy:
            self._tail.unfollow(Place(Topic.EVENTS, partition))
            del self.followed[partition]
        new = (own | busy) - set(self.followed)
        if new:
            ends = await self._log.ends(Topic.EVENTS)
            for partition in sorted(new):
                await self._begin(partition, ends.get(partition, 0))

    async def _begin(self, partition: int, end: int) -> None:
        start = await self._membership.committed(partition) or 0
        self.followed[partition] = Followed(partition, OpenRequests(self._traits), start, end)
        self._tail.follow(Place(Topic.EVENTS, partition), start, self._prompt)

    async def catch_up(self) -> None:
        """From now on who has caught up has folded all that stands in the history now. Raises LogUnavailable."""
        ends = await self._log.ends(Topic.EVENTS)
        for followed in self.followed.values():
            followed.target = max(followed.target, ends.get(followed.partition, 0))

    def wait_for_claims(self, *, wanted: bool) -> None:
        """Be told of claims at once, or no more: they grant work that waits for its own, and take other work away.
        Everybody claims, so a worker that has nothing to do would be woken by each of them for nothing.
        """
        if self._prompt is not None and self._traits.awaits_claim:
            (self._prompt.add if wanted else self._prompt.discard)(CLAIMED)

    def hurry(self) -> None:
        """From now on everything is waited for: work that has been answered is to end at once."""
        if self._prompt is not None:
            self._prompt = None
            for followed in self.followed.values():
                if followed.unreadable is None:
                    self._tail.follow(Place(Topic.EVENTS, followed.partition), followed.position)

    async def read(self, wait_seconds: float) -> frozenset[int]:
        """Fold what has come; the partitions in which something has."""
        try:
            return await self._read(wait_seconds)
        except HistoryCutOff as cut:
            self._stand_still(cut)
            return frozenset()

    def _stand_still(self, cut: HistoryCutOff) -> None:
        """One place is told of before anything of the others: these are read the next time."""
        if (followed := self.followed.get(cut.place.partition)) is not None:
            followed.unreadable = f"{cut.place.topic}, partition {cut.place.partition}: {cut}"
        self._tail.unfollow(cut.place)

    async def _read(self, wait_seconds: float) -> frozenset[int]:
        batches = await self._tail.batches(wait_seconds)
        for place, records in batches.items():
            if (followed := self.followed.get(place.partition)) is not None:
                followed.fold(records)
                if followed.unreadable is not None:
                    self._tail.unfollow(place)
        await self._skip_gaps(bool(batches))
        return frozenset(place.partition for place in batches)

    async def _skip_gaps(self, moved: bool) -> None:
        """An end may lie behind offsets that hold no record: nothing more comes, so it is reached."""
        if moved:
            return
        for followed in self.followed.values():
            if followed.unreadable is None and not followed.caught_up:
                place = Place(Topic.EVENTS, followed.partition)
                if not await self._log.read(place, followed.position, followed.target):
                    followed.position = followed.target

    async def close(self) -> None:
        """Stop following."""
        await self._tail.close()
