"""Clients on their way out, which a silent broker may hold for a while."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

IN_FLIGHT_SECONDS = 2.0
logger = logging.getLogger(__name__)


class Endings:
    """Ends clients in the background, so that nobody waits for one whose broker is silent."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, ending: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start to end a client; the task may be waited for, and must not be cancelled."""
        task = asyncio.create_task(ending)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def wait(self, task: asyncio.Task[None], limit_seconds: float) -> None:
        """Wait a little for one of them."""
        await asyncio.wait({task}, timeout=limit_seconds)

    async def finish(self, limit_seconds: float) -> None:
        """Wait a little for all of them, then cut off those that still hang."""
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
    transaction that is not meant. So its sender is stopped by hand: this alone looks inside the library.
    """
    sender = producer._sender.sender_task
    if sender is not None:
        await _stop(sender)
    accumulator = producer._message_accumulator
    batches = [*accumulator._pending_batches, *(b for queue in accumulator._batches.values() for b in queue)]
    accumulator.fail_all(KafkaConnectionError("the producer was dropped"))
    transaction = getattr(producer._txn_manager, "_transaction_waiter", None)
    for future in (transaction, *(f for b in batches for f in (b.future, b._drain_waiter))):
        if future is not None and future.done() and not future.cancelled():
            future.exception()  # heard: nobody may be left to ask for it
    await producer.stop()


async def _stop(sender: asyncio.Task[None]) -> None:
    """Cancelled once, it sends nothing more and waits for requests in flight; cancelled twice, not even that."""
    for patience_seconds in (IN_FLIGHT_SECONDS, None):
        sender.cancel()
        done, _ = await asyncio.wait({sender}, timeout=patience_seconds)
        if done:
            return
