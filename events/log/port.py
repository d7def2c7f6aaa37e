"""The port to the log: what services may ask of it, whichever server keeps it.

Offsets grow within a (topic, partition) and may have gaps. The key of every record is its project; the home
partition of a project is the same in every topic (`events.log.partitions`).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from events.catalogue import Topic


class NewRecord(Struct, frozen=True):
    """A record to be written. The header `type` carries the CloudEvents type, so readers can pass it over."""

    key: str
    value: bytes
    headers: Mapping[str, bytes] = {}


class StoredRecord(Struct, frozen=True):
    """A record as the log keeps it. `recorded_at` is the log's own clock, UTC.

    `key` is the raw key as text (undecodable bytes replaced), or None where a foreign producer gave none.
    """

    topic: Topic
    partition: int
    offset: int
    key: str | None
    value: bytes
    headers: Mapping[str, bytes]
    recorded_at: datetime

    @property
    def type_name(self) -> str | None:
        """The CloudEvents type, where the writer put it beside the record."""
        header = self.headers.get("type")
        return header.decode("ascii", "replace") if header is not None else None


@dataclass(frozen=True, slots=True)
class Positions:
    """The next offset to read of each submitted topic, as of a step."""

    commands: int = 0
    results: int = 0


@dataclass(frozen=True, slots=True)
class Forward:
    """A submitted record that was found away from home: the same bytes, sent to its home partition."""

    topic: Topic
    partition: int
    record: NewRecord


@dataclass(frozen=True, slots=True)
class Step:
    """What a supervisor writes at once: all of it becomes visible, or nothing."""

    events: Sequence[NewRecord] = ()
    rejections: Sequence[NewRecord] = ()
    forwards: Sequence[Forward] = ()
    positions: Positions = Positions()

    @property
    def is_empty(self) -> bool:
        """Nothing would be written; the positions alone are not worth a step."""
        return not (self.events or self.rejections or self.forwards)


class Fenced(Exception):
    """Another writer has taken over this partition; nothing was written."""


class LogUnavailable(Exception):
    """The log cannot be reached, or did not answer in time; whether something was written is not known."""


class LogUnfit(Exception):
    """The log that is there is not as it was asked for: waiting does not help, somebody must decide."""


class PartitionWriter(Protocol):
    """The one writer of a partition's history, from its taking over to its being fenced.

    After `Fenced` or `LogUnavailable` it is dropped, never used again: the partition is taken over anew.
    """

    @property
    def positions(self) -> Positions:
        """Where the predecessor's last step had read to."""

    @property
    def end(self) -> int:
        """The offset behind the last record of the history when the partition was taken over."""

    async def append(self, step: Step) -> int:
        """Write one step atomically and return the end of the history behind it. Its positions are of records
        that were read from the log. Fenced, LogUnavailable.
        """

    async def delete_before(self, positions: Positions) -> None:
        """Let go of submitted records before the positions, which must be those of a written step with events:
        the history alone keeps its positions for ever.

        LogUnavailable here says that some are still there, and no more: the writer stays as it was.
        """

    async def renew(self) -> None:
        """Show that this writer lives, where the log needs to see it. Raises Fenced."""

    async def close(self) -> None:
        """Let the partition go; the next owner need not wait for a lease."""


class Place(Struct, frozen=True):
    """A partition of a topic."""

    topic: Topic
    partition: int


class HistoryCutOff(Exception):
    """The history was asked for from an offset that the log no longer holds."""

    def __init__(self, place: Place, missing: int, first: int) -> None:
        super().__init__(
            f"{HistoryCutOff.__doc__} Partition {place.partition}, offset {missing}; "
            f"the first that is left is {first}"
        )
        self.place = place
        self.missing = missing
        self.first = first


@dataclass(frozen=True, slots=True)
class Missing:
    """Submitted records that were deleted before they were read: those from `position` up to `first`, which is
    the first that is left. Somebody else deleted them: no step has passed them.
    """

    place: Place
    position: int
    first: int


class Tail(Protocol):
    """Follows places of the log from given offsets; records of one place come in order, committed only.

    A position before the start of its place never sets the reading back, nor does it pass in silence: the
    history raises HistoryCutOff, and elsewhere reading goes on with what is left, and `take_missing` says so.
    """

    def follow(self, place: Place, offset: int, prompt: Collection[str] | None = None) -> None:
        """Add a place, or move it to an offset.

        `prompt` names the events that are waited for: a log that can sends the others along with them only, or
        after a second. None means all. It is looked at whenever something comes, so its owner may change it.
        """

    def unfollow(self, place: Place) -> None:
        """Leave a place; none of its records comes any more."""

    async def batches(self, wait_seconds: float) -> Mapping[Place, Sequence[StoredRecord]]:
        """What has come, by place; waits up to `wait_seconds` for the first record.

        Raises LogUnavailable, and HistoryCutOff.
        """

    def take_missing(self) -> Sequence[Missing]:
        """What was found to be missing since this was last asked."""

    async def close(self) -> None:
        """End it."""


PartitionsChanged = Callable[[frozenset[int]], Awaitable[None]]


class Membership(Protocol):
    """One instance's part in a group: which partitions are its own, and who else lives.

    Losing a partition is told before another instance is given it wherever the server allows that; being
    told late does no harm, since the history fences writers and claims.
    """

    @property
    def instance(self) -> str:
        """The id of this instance in the group; it names it in claims."""

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that are this instance's own at the moment."""

    @property
    def is_expelled(self) -> bool:
        """Whether the group has given this instance up: it owns nothing more, and has to leave and join anew."""

    async def changed(self, known: frozenset[int]) -> frozenset[int]:
        """Wait until the own partitions differ from `known`, and return them."""

    async def living(self) -> frozenset[str]:
        """The instances of the group that live. A claim of any other instance may be replaced."""

    async def committed(self, partition: int) -> int | None:
        """The history offset up to which the group needs to read no more, if one was committed."""

    async def commit(self, partition: int, offset: int) -> None:
        """Commit such an offset, for this or the next owner of the partition."""

    async def leave(self) -> None:
        """Leave the group at once."""


class EventLog(Protocol):
    """A log of `partition_count` partitions a topic."""

    @property
    def partition_count(self) -> int:
        """The number of partitions of every topic; it never changes."""

    async def submit(self, topic: Topic, records: Sequence[NewRecord]) -> list[tuple[Place, int]]:
        """Write records to commands, results or output, each to its project's home partition, and return
        the place and offset of each.

        Durable when it returns for commands; results may be lost with the server's last moments, so workers
        submit again until the history answers.
        """

    async def take_over(self, partition: int, instance: str) -> PartitionWriter:
        """Fence every earlier writer of the partition's history, then read where it ended."""

    async def read(self, place: Place, start: int, end: int | None = None) -> Sequence[StoredRecord]:
        """The next records in [start, end), some of them; empty when there are none (yet).

        Where the first have been deleted, reading goes on with what is left; not so in the history, which
        raises HistoryCutOff.
        """

    async def ends(self, topic: Topic) -> Mapping[int, int]:
        """The offset behind the last committed record, by partition."""

    def tail(self) -> Tail:
        """A reader that follows places."""

    async def join(self, group: str) -> Membership:
        """Become a member of a group among whose instances the partitions are shared out."""

    async def check(self) -> None:
        """Raise LogUnavailable where the log cannot be used now."""

    async def close(self) -> None:
        """Let go of every connection."""
