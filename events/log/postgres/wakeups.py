"""Waking those who wait for the log: in this process at once, in others by NOTIFY after the commit.

What has changed is told by signs, and each kind of sign has a channel of its own. What is written most of the
time, results and events, needs none: its commit brings it along (`pushing`).
"""

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from events.log.port import Place

CHANNELS = "autopack_log."
"""What the names of all channels begin with."""


class Sign(NamedTuple):
    """That something has changed: of what kind it is, and where."""

    channel: str
    detail: str = ""


EVERYTHING = Sign("")
"""The sign that wakes everybody."""

BROUGHT = Sign("", "brought")
"""The sign of a tail to itself: it has been brought what it waits for."""


@lru_cache(maxsize=4096)
def sign_of(place: Place) -> Sign:
    """There are new records in a place."""
    return Sign(place.topic, str(place.partition))


class Sleeper:
    """Waits for the signs that it heeds, and keeps those that came in the meantime."""

    def __init__(self) -> None:
        self._heeded = {EVERYTHING}
        self._signs: set[Sign] = set()
        self._woken = asyncio.Event()

    def heed(self, sign: Sign) -> None:
        """Be woken by this sign from now on."""
        self._heeded.add(sign)

    def ignore(self, sign: Sign) -> None:
        """Be woken by it no more."""
        self._heeded.discard(sign)

    def wake(self, signs: Iterable[Sign]) -> None:
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

    def take(self) -> frozenset[Sign]:
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

    def announce(self, signs: Collection[Sign]) -> None:
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
            kind = channel.removeprefix(CHANNELS)
            self.announce([Sign(kind, where) for where in str(payload).split(" ")])


_hubs: WeakKeyDictionary[AbstractEventLoop, WeakValueDictionary[str, Hub]] = WeakKeyDictionary()


def hub_of(url: str) -> Hub:
    """The hub of a log in this event loop."""
    hubs = _hubs.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    hub = hubs.get(url)
    if hub is None:
        hub = hubs[url] = Hub()
    return hub
