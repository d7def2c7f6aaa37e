"""The one writer of a partition's history: each step a transaction, its history part one batch."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.admin import RecordsToDelete

from events.catalogue import Topic
from events.failpoints import failpoint
from events.log.kafka.batches import Batch, Batcher, StepBatches
from events.log.kafka.clients import Clients
from events.log.kafka.endings import drop
from events.log.kafka.failures import says_fenced, within
from events.log.kafka.records import SUBMITTED
from events.log.port import Fenced, LogUnavailable, Place, Positions, Step

FORWARDS_SECONDS = 0.2


class KafkaPartitionWriter:
    """Writes steps with a producer that has fenced all earlier ones.

    A transaction alone does not make a step whole: its end, delayed on the way, can arrive in the midst of
    the next transaction of the same producer and commit the half that has been written by then. A batch is
    taken whole or not at all, whatever happens around it. So the history part of a step is one batch, it
    carries the positions, and everything else is sent and acknowledged before it: what a torn step can
    leave behind are rejections and forwards, which the next owner, who finds the old positions, repeats.
    """

    def __init__(
        self, clients: Clients, producer: AIOKafkaProducer, partition: int, positions: Positions, end: int
    ) -> None:
        self._clients = clients
        self._producer: AIOKafkaProducer | None = producer
        self._batcher = Batcher(producer, clients.names, partition)
        self._partition = partition
        self._positions = positions
        self._end = self._written_end = end
        clients.endings.opened(self)

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
        after which the producer is gone, and StepTooLarge, after which nothing has happened.
        """
        producer = self._living()
        if step.is_empty:
            return self._written_end
        batches = self._batcher.pack(step)
        is_committing = False
        try:
            async with within(self._clients.timing.step_seconds, f"writing to partition {self._partition}"):
                await producer.begin_transaction()
                ends = await _send(producer, batches)
                failpoint("sent")
                is_committing = True
                await producer.commit_transaction()
                await self._until_visible(ends)
        except LogUnavailable as error:
            self._drop()
            # Refused while committing, it may have been a commit whose answer got lost: that is not known.
            if says_fenced(error) and not is_committing:
                raise Fenced(f"{Fenced.__doc__} partition {self._partition}") from error
            raise
        except BaseException:
            self._drop()
            raise
        self._written_end = ends.get(Place(Topic.EVENTS, self._partition), self._written_end)
        return self._written_end

    async def delete_before(self, positions: Positions) -> None:
        """Let go of submitted records before the positions, which must be those of a written step."""
        self._living()
        wanted = {Topic.COMMANDS: positions.commands, Topic.RESULTS: positions.results}
        targets = {
            self._clients.names.partition(Place(topic, self._partition)): RecordsToDelete(offset)
            for topic, offset in wanted.items()
            if offset > 0
        }
        if targets:
            async with within(self._clients.timing.step_seconds, f"deleting in partition {self._partition}"):
                await self._clients.admin.delete_records(targets)

    async def renew(self) -> None:
        """Nothing to do: a producer needs no lease, and is fenced by a later one alone."""
        self._living()

    async def close(self) -> None:
        """Let the partition go. An unfinished transaction is settled by whoever takes over next."""
        ending = self._drop()
        if ending is not None:
            await asyncio.wait({ending}, timeout=self._clients.timing.closing_seconds)

    async def _until_visible(self, ends: Mapping[Place, int]) -> None:
        """Wait until every reader can see the step. The next one could not begin before that anyway.

        Not so for forwards: their partitions have other writers, one of which may have died in the midst of
        a step, and then what lies behind that is seen when the step is settled.
        """
        forwarded = {place: end for place, end in ends.items() if place.topic in SUBMITTED}
        await self._clients.offsets.until_stable({place: ends[place] for place in ends.keys() - forwarded.keys()})
        with suppress(TimeoutError):
            async with asyncio.timeout(FORWARDS_SECONDS):
                await self._clients.offsets.until_stable(forwarded)

    def _living(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise LogUnavailable(f"the writer of partition {self._partition} has been dropped")
        return self._producer

    def _drop(self) -> asyncio.Task[None] | None:
        producer, self._producer = self._producer, None
        self._clients.endings.closed(self)
        return None if producer is None else self._clients.endings.begin(drop(producer))


async def _send(producer: AIOKafkaProducer, batches: StepBatches) -> dict[Place, int]:
    """Send what goes ahead, then, when all of that is acknowledged, the batch that makes it a step.

    The offsets behind what was sent, by place.
    """
    ends = await asyncio.gather(*(_delivered(producer, batch) for batch in batches.ahead))
    if batches.last is not None:
        ends.append(await _delivered(producer, batches.last))
    return dict(ends)


async def _delivered(producer: AIOKafkaProducer, batch: Batch) -> tuple[Place, int]:
    """Send a batch, wait for its acknowledgement, and return the offset behind it."""
    topic, partition = batch.partition
    written = await (await producer.send_batch(batch.builder, topic, partition=partition))
    if written.offset < 0:  # a repetition, says the server, of what it no longer knows the offset of
        raise LogUnavailable(f"a batch was written to {topic}-{partition}, but its offset is not known")
    return batch.place, int(written.offset) + int(batch.builder.record_count())
