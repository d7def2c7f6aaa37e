"""What is open, and what is on its way out, where a silent broker may hold it for a while.

The library waits for brokers that do not answer, and has no way to be told not to. `drop` and `stop` know its
inner parts, and nothing else here does.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

IN_FLIGHT_SECONDS = 2.0
logger = logging.getLogger(__name__)


class Part(Protocol):
    """A part of a log that holds connections of its own."""

    async def close(self) -> None:
        """Let go of them."""


class Endings:
    """Ends clients in the background, so that nobody waits for one whose broker is silent."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[Part] = set()

    def opened(self, part: Part) -> None:
        """Remember a part that is to be closed with the log, if nobody closes it before."""
        self._open.add(part)

    def closed(self, part: Part) -> None:
        """Forget a part that has been closed."""
        self._open.discard(part)

    def begin(self, ending: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start to end a client. Whoever waits for it waits a limited time, and leaves it going."""
        task = asyncio.create_task(ending)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def finish(self, limit_seconds: float) -> None:
        """Close what is open, wait a little for all that is ending, then cut off what still hangs."""
        await asyncio.gather(*(part.close() for part in list(self._open)))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit_seconds)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=limit_seconds)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("a client did not end in order: %r", error)


async def drop(producer: AIOKafkaProducer) -> None:
    """End a producer without abort and without delivering what it still holds.

    The library's `stop` would deliver first, for ever where the broker is away, and an abort could hit a
    transaction that is not meant. So its sender is stopped by hand.
    """
    sender = producer._sender.sender_task
    if sender is not None:
        await _cancel_twice(sender)
    accumulator = producer._message_accumulator
    batches = [*accumulator._pending_batches, *(b for queue in accumulator._batches.values() for b in queue)]
    accumulator._pending_batches.update(batches)  # callbacks look there for those that were to be sent again
    accumulator.fail_all(KafkaConnectionError("the producer was dropped"))
    transaction = getattr(producer._txn_manager, "_transaction_waiter", None)
    for future in (transaction, *(f for b in batches for f in (b.future, b._drain_waiter))):
        if future is not None and future.done() and not future.cancelled():
            future.exception()  # heard: nobody may be left to ask for it
    await producer.stop()


async def stop(consumer: AIOKafkaConsumer) -> None:
    """End a consumer, and let it leave its group, if the broker listens.

    The library's `stop` waits for a silent broker's answers, and when a fetch is just about to be repeated it
    trips over that, cancelled, and leaves its connections open. Then they are closed here.
    """
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.wait({stopping}, timeout=IN_FLIGHT_SECONDS)
    if stopping.done() and not stopping.cancelled() and stopping.exception() is None:
        return
    await consumer._client.close()
    await _cancel_twice(stopping)
    if consumer._fetcher is not None:
        consumer._fetcher._fetch_task.cancel()
    await consumer._client.close()


async def _cancel_twice(task: asyncio.Task[None]) -> None:
    """Cancelled once, a sender sends nothing more, and waits for requests in flight; twice, not even that."""
    for patience_seconds in (IN_FLIGHT_SECONDS, None):
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=patience_seconds)
        if done:
            return
