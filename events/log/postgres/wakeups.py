"""Waking those who wait for the log: in this process at once, in others by NOTIFY after the commit."""

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import lru_cache
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from events.log.port import Place

EVERYTHING = ""
"""The sign that wakes everybody."""


@lru_cache(maxsize=4096)
def sign_of(place: Place) -> str:
    """What stands for a place in a notification."""
    return f"{place.topic}:{place.partition}"


class Sleeper:
    """Waits for the signs that it heeds, and keeps those that came in the meantime."""

    def __init__(self) -> None:
        self._heeded = {EVERYTHING}
        self._signs: set[str] = set()
        self._woken = asyncio.Event()

    def heed(self, sign: str) -> None:
        """Be woken by this sign from now on."""
        self._heeded.add(sign)

    def ignore(self, sign: str) -> None:
        """Be woken by it no more."""
        self._heeded.discard(sign)

    def wake(self, signs: Iterable[str]) -> None:
        """Leave signs."""
        heeded = self._heeded.intersection(signs)
        if heeded:
            self._signs |= heeded
            self._woken.set()

    async def sleep_until(self, moment: float) -> None:
        """Return when there are signs, and at this time of the loop's clock at the latest."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(moment):
                await self._woken.wait()

    def take(self) -> frozenset[str]:
        """The signs that came; they are forgotten."""
        signs = frozenset(self._signs)
        self._signs.clear()
        self._woken.clear()
        return signs


class Hub:
    """All who wait in this process for one log, whichever of its objects they got hold of it by."""

    def __init__(self) -> None:
        self._sleepers: WeakSet[Sleeper] = WeakSet()
        self._own: set[int] = set()

    def sleeper(self) -> Sleeper:
        """Somebody new who waits. Letting go of it ends it."""
        sleeper = Sleeper()
        self._sleepers.add(sleeper)
        return sleeper

    def announce(self, signs: Collection[str]) -> None:
        """Wake this process."""
        for sleeper in self._sleepers:
            sleeper.wake(signs)

    def speaks_with(self, server_process_id: int) -> None:
        """Heed no notification of this backend: it speaks for this process, which knows already."""
        self._own.add(server_process_id)

    def falls_silent(self, server_process_id: int) -> None:
        """The backend is gone; its number may be given to another."""
        self._own.discard(server_process_id)

    def hear(self, connection: object, server_process_id: int, channel: str, payload: object) -> None:
        """A notification has come."""
        if server_process_id not in self._own:
            self.announce(str(payload).split(" "))


_hubs: WeakKeyDictionary[AbstractEventLoop, WeakValueDictionary[str, Hub]] = WeakKeyDictionary()


def hub_of(url: str) -> Hub:
    """The hub of a log in this event loop."""
    hubs = _hubs.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    hub = hubs.get(url)
    if hub is None:
        hub = hubs[url] = Hub()
    return hub
