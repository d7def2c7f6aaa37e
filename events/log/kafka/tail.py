"""Following places of the log: one consumer, assigned to them all, reading what is committed."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from time import monotonic

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from events.log.kafka.clients import Clients
from events.log.kafka.endings import stop
from events.log.kafka.failures import within
from events.log.kafka.records import stored
from events.log.port import LogUnavailable, Missing, Place, StoredRecord

WAIT_MILLISECONDS = 100


class KafkaTail:
    """Follows places. Its consumer is made when records are first asked for."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._consumer: AIOKafkaConsumer | None = None
        self._positions: dict[Place, int] = {}
        self._is_followed = asyncio.Event()
        self._silences: dict[Place, tuple[int | None, float]] = {}
        self._missing: list[Missing] = []

    def follow(self, place: Place, offset: int, prompt: Collection[str] | None = None) -> None:
        """Add a place, or move it to an offset. All of its records come at once."""
        self._positions[place] = offset
        self._is_followed.set()
        self._assign()

    def unfollow(self, place: Place) -> None:
        """Leave a place; none of its records comes any more."""
        self._positions.pop(place, None)
        if not self._positions:
            self._is_followed.clear()
        self._assign()

    async def batches(self, wait_seconds: float) -> Mapping[Place, Sequence[StoredRecord]]:
        """What has come, by place; waits up to `wait_seconds` for the first record.

        Raises LogUnavailable also where the server has been silent for a while, which the library would
        never tell, and HistoryCutOff where the history no longer holds what is to be read.
        """
        until = monotonic() + wait_seconds
        while True:
            left = max(0.0, until - monotonic())
            found = await self._next(left) if self._positions else await self._wait_for_places(left)
            if found or monotonic() >= until:
                return found

    def take_missing(self) -> Sequence[Missing]:
        """What was found to be missing since this was last asked."""
        found, self._missing = self._missing, []
        return found

    async def close(self) -> None:
        """End it."""
        if self._consumer is not None:
            ending = self._clients.endings.begin(stop(self._consumer))
            self._consumer = None
            self._clients.endings.closed(self)
            await asyncio.wait({ending}, timeout=self._clients.timing.closing_seconds)

    async def _wait_for_places(self, wait_seconds: float) -> Mapping[Place, Sequence[StoredRecord]]:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                await self._is_followed.wait()
        return {}

    async def _next(self, wait_seconds: float) -> Mapping[Place, Sequence[StoredRecord]]:
        consumer = await self._started()
        began = monotonic()
        patience = min(wait_seconds, self._clients.timing.silence_seconds)
        try:
            # Bounded by its own limit: cut off from outside, it could take records with it.
            fetched = await consumer.getmany(timeout_ms=int(patience * 1000))
        except OffsetOutOfRangeError as error:
            await self._go_on_with_what_is_left(error.args[0])
            return {}
        except KafkaError as error:
            self._assign()  # what was fetched together with the error is fetched again
            raise LogUnavailable(f"following the log: {error!r}") from error
        found = {}
        for partition, records in fetched.items():
            place = self._clients.names.place(partition)
            found[place] = [stored(place, record) for record in records]
            self._positions[place] = records[-1].offset + 1
        self._listen(consumer, monotonic() - began)
        return found

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(**self._clients.connection.reader_settings(WAIT_MILLISECONDS))
            try:
                async with within(self._clients.timing.reading_seconds, "following the log"):
                    await consumer.start()
            except BaseException:
                self._clients.endings.begin(stop(consumer))
                raise
            self._consumer = consumer
            self._clients.endings.opened(self)
            self._assign()
        return self._consumer

    def _assign(self) -> None:
        """Every assignment is a new one to the library: all positions have to be set again."""
        if self._consumer is None:
            return
        if not self._positions:
            self._consumer.pause(*self._consumer.assignment())
            return
        offsets = {self._clients.names.partition(place): offset for place, offset in self._positions.items()}
        self._consumer.assign(list(offsets))
        for partition, offset in offsets.items():
            self._consumer.seek(partition, offset)

    async def _go_on_with_what_is_left(self, missing: Mapping[tuple[str, int], int]) -> None:
        """Raises HistoryCutOff for the history, where nothing is ever deleted."""
        self._assign()
        for partition, offset in missing.items():
            place = self._clients.names.place(partition)
            if self._positions.get(place) != offset:
                continue  # the library had asked for it before it was left, or moved
            first = await self._clients.reader.first_left(place, offset)
            if self._positions.get(place) == offset:
                self._missing.append(Missing(place, offset, first))
                self.follow(place, first)

    def _listen(self, consumer: AIOKafkaConsumer, waited_seconds: float) -> None:
        """Raise LogUnavailable when a followed place was not heard of for too long, records or none."""
        for place in self._positions:
            heard = consumer.last_poll_timestamp(self._clients.names.partition(place))
            before, silence = self._silences.get(place, (None, 0.0))
            self._silences[place] = (heard, silence + waited_seconds if heard == before else 0.0)
            if self._silences[place][1] > self._clients.timing.silence_seconds:
                raise LogUnavailable(f"following the log: {place.topic}, partition {place.partition} is silent")
