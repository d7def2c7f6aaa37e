"""What the history says about a piece of work while it runs."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum


class Signal(StrEnum):
    """What may be heard of a request."""

    CLAIMED = "our claim was granted"
    CLOSED = "it is open no longer"
    LOST = "another holds it"
    REVOKED = "nobody needs the answer any more"


class Signals:
    """Those that have been heard, for good; several may wait for them."""

    def __init__(self) -> None:
        self._heard: set[Signal] = set()
        self._waiters: set[asyncio.Future[None]] = set()
        self._limits: set[asyncio.Timeout] = set()

    def tell(self, signal: Signal) -> None:
        """It is so from now on."""
        if signal not in self._heard:
            self._heard.add(signal)
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def hurry(self) -> None:
        """Whoever waits for a limited time has waited long enough."""
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())

    def have(self, signal: Signal) -> bool:
        """Whether it has been heard."""
        return signal in self._heard

    async def first_of(self, *signals: Signal, wait_seconds: float | None = None) -> Signal | None:
        """The first of these, in this order, that has been heard, or None when the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds) as limit:
                with self._hurried(limit):
                    while not self._heard.intersection(signals):
                        await self._news()
        return next((signal for signal in signals if signal in self._heard), None)

    @contextmanager
    def _hurried(self, limit: asyncio.Timeout) -> Iterator[None]:
        if limit.when() is not None:
            self._limits.add(limit)
        try:
            yield
        finally:
            self._limits.discard(limit)

    async def _news(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
