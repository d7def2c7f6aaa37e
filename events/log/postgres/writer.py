"""The one writer of a partition's history: each step one statement, which checks its epoch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import asyncpg

from events.catalogue import Topic
from events.failpoints import failpoint
from events.log.port import Fenced, LogUnavailable, NewRecord, Place, Positions, Step
from events.log.postgres.appending import Appender, Appending
from events.log.postgres.notifier import Notifier
from events.log.postgres.rows import columns
from events.log.postgres.server import Pool
from events.log.postgres.statements import APPEND_STEP, DELETE, RELEASE, RENEW, TAKE_OVER
from events.log.postgres.wakeups import sign_of


@dataclass(frozen=True, slots=True)
class Means:
    """What the writers of one log share. Every sign of life counts for `lease_seconds`."""

    durable: Pool
    lazy: Pool
    notifier: Notifier
    appender: Appender
    partition_count: int
    lease_seconds: float


class PostgresPartitionWriter:
    """Writes steps as long as nobody has raised the epoch in the head of its history.

    A statement runs in the server to its end whatever becomes of us: a writer that is stopped in the middle
    holds no lock, so whoever takes over waits for a commit at most.

    It ends with the first connection that the log loses. A server that stopped without its last writes
    reaching the disk gives the offsets of results out again, and a step with positions from before would pass
    over what comes under them. For the same reason no step is written whose positions lie behind the ends of
    what it says it has read.
    """

    def __init__(
        self, means: Means, partition: int, epoch: int, losses: int, end: int, positions: Positions
    ) -> None:
        self._means = means
        self._partition = partition
        self._epoch = epoch
        self._losses = losses
        self._end = self._written_end = end
        self._positions = positions
        self._is_dropped = False

    @property
    def positions(self) -> Positions:
        """Where the predecessor's last step had read to."""
        return self._positions

    @property
    def end(self) -> int:
        """The offset behind the last record of the history when the partition was taken over."""
        return self._end

    async def append(self, step: Step) -> int:
        """Write one step and return the end of the history behind it. Raises Fenced and LogUnavailable,
        after which the writer is dropped.
        """
        self._check_standing()
        if step.is_empty:
            return self._written_end
        if any(not 0 <= forward.partition < self._means.partition_count for forward in step.forwards):
            raise ValueError(f"a forward to a partition that is none of {self._means.partition_count}")
        if step.rejections or step.forwards:
            end = await self._fenced(APPEND_STEP, *_arrays(self._partition, step), *_positions(step))
            self._means.notifier.announce({sign_of(place) for place, _ in _placed(self._partition, step)})
        else:
            end = await self._appended(step)
        failpoint("written")
        self._written_end = end
        return end

    async def delete_before(self, positions: Positions) -> None:
        """Let go of submitted records before the positions, never of one that no written step has passed."""
        self._check_standing()
        doing = f"deleting in partition {self._partition}"
        for topic, offset in ((Topic.COMMANDS, positions.commands), (Topic.RESULTS, positions.results)):
            await self._means.lazy.fetch(doing, DELETE, topic.value, self._partition, offset)

    async def renew(self) -> None:
        """Show in the head that this writer lives. Raises Fenced and LogUnavailable."""
        self._check_standing()
        # Nobody is kept waiting for a disk by it: of a sign that was lost the next one tells as well.
        await self._fenced(RENEW, pool=self._means.lazy)

    async def close(self) -> None:
        """Let the partition go. Where the server cannot be told, the lease runs out by itself."""
        if not self._is_dropped:
            self._is_dropped = True
            with suppress(LogUnavailable):
                await self._means.lazy.fetch(self._doing, RELEASE, self._partition, self._epoch)

    @property
    def _doing(self) -> str:
        return f"writing to partition {self._partition}"

    def _check_standing(self) -> None:
        if self._is_dropped:
            raise LogUnavailable(f"the writer of partition {self._partition} has been dropped")

    async def _appended(self, step: Step) -> int:
        """A step of events alone, together with those of other partitions. The end of the history."""
        appending = Appending(self._partition, self._epoch, self._losses, step.events, step.positions)
        with self._dropped_on_failure():
            return self._end_in(await self._means.appender.append(appending))

    async def _fenced(self, statement: str, *arguments: object, pool: Pool | None = None) -> int:
        """Run a statement that does nothing unless the epoch is still ours. The end of the history."""
        head = (self._partition, self._epoch, self._means.lease_seconds)
        with self._dropped_on_failure():
            fetch = (pool or self._means.durable).fetch
            return self._end_in(await fetch(self._doing, statement, *head, *arguments, losses=self._losses))

    @contextmanager
    def _dropped_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._is_dropped = True
            raise

    def _end_in(self, rows: Sequence[asyncpg.Record]) -> int:
        if not rows:
            raise Fenced(f"{Fenced.__doc__} partition {self._partition}, epoch {self._epoch}")
        if rows[0]["next_offset"] is None:
            raise LogUnavailable(f"{self._doing}: the step claims to have read what is not in the log")
        return int(rows[0]["next_offset"])


async def take_over(means: Means, partition: int, instance: str) -> PostgresPartitionWriter:
    """The new writer of a partition. Raises LogUnavailable.

    Raising the epoch waits for an append that is under way, and reads where the history ended behind it.
    """
    doing, losses = f"taking over partition {partition}", means.durable.losses
    rows = await means.durable.fetch(doing, TAKE_OVER, partition, instance, means.lease_seconds)
    if not rows:
        raise ValueError(f"the log has no partition {partition}")
    head = rows[0]
    positions = Positions(commands=head["commands"], results=head["results"])
    return PostgresPartitionWriter(means, partition, head["epoch"], losses, head["next_offset"], positions)


def _positions(step: Step) -> tuple[int, int]:
    return step.positions.commands, step.positions.results


def _placed(partition: int, step: Step) -> list[tuple[Place, NewRecord]]:
    """Events and rejections belong to the writer's own partition, forwards to the home that they name."""
    events, rejections = Place(Topic.EVENTS, partition), Place(Topic.REJECTIONS, partition)
    return [
        *((events, record) for record in step.events),
        *((rejections, record) for record in step.rejections),
        *((Place(forward.topic, forward.partition), forward.record) for forward in step.forwards),
    ]


def _arrays(partition: int, step: Step) -> tuple[Sequence[object], ...]:
    placed = _placed(partition, step)
    topics = [place.topic.value for place, _ in placed]
    partitions = [place.partition for place, _ in placed]
    return topics, partitions, *columns([record for _, record in placed])
