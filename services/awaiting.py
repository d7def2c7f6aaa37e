"""Servers that need not be there yet when services start: they are waited for, unless waiting cannot help."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import structlog

from services.retrying import Backoff
from services.status import ServiceStatus

LONGEST_PAUSE_SECONDS = 2.0
SILENCE_SECONDS = 3.0
logger = structlog.get_logger(__name__)


class Awaited:
    """One server, and how it is opened; `away` is what that raises where waiting may help."""

    def __init__(
        self, name: str, open_it: Callable[[], Awaitable[None]], away: tuple[type[Exception], ...]
    ) -> None:
        self._name = name
        self._open = open_it
        self._away = away
        self._is_open = asyncio.Event()
        self._waiting: list[ServiceStatus] = []
        self._is_told = False

    async def open(self) -> None:
        """Open it now. Raises what `open_it` raises."""
        await self._open()
        self._is_open.set()

    async def open_patiently(self, stop: asyncio.Event) -> None:
        """Try until it answers, or `stop` is set. Raises what waiting does not mend."""
        backoff, began = Backoff(most_seconds=LONGEST_PAUSE_SECONDS), monotonic()
        silent = asyncio.get_running_loop().call_later(SILENCE_SECONDS, self._tell, "no answer yet")
        try:
            while not (self._is_open.is_set() or stop.is_set()):
                trouble = await self._try(stop)
                if trouble is not None:
                    self._tell(trouble)
                    await backoff.pause(stop)
        finally:
            silent.cancel()
        if self._is_told and self._is_open.is_set():
            logger.info(f"{self._name} is there", waited_seconds=round(monotonic() - began, 1))

    def _tell(self, reason: str) -> None:
        """Once: the readiness goes on telling."""
        if not self._is_told:
            self._is_told = True
            logger.warning(f"waiting for {self._name}", reason=reason)

    def hinders(self, status: ServiceStatus) -> None:
        """The service is not ready before this server is open."""
        if not self._is_open.is_set():
            self._waiting.append(status)
            status.hinder(self._name, f"waiting for {self._name}", is_told_elsewhere=True)

    async def opened(self, stop: asyncio.Event) -> None:
        """Return when it is open, or `stop` is set."""
        await first_of(self._is_open.wait(), stop.wait())

    async def _try(self, stop: asyncio.Event) -> str | None:
        """What is in the way, if anything is."""
        try:
            await first_of(self.open(), stop.wait())
        except self._away as error:
            reason = str(error) or type(error).__name__
            for status in self._waiting:
                status.hinder(self._name, f"waiting for {self._name}: {reason}", is_told_elsewhere=True)
            return reason
        for status in self._waiting if self._is_open.is_set() else ():
            status.unhinder(self._name)
        return None


async def first_of(*doings: Awaitable[object]) -> None:
    """Do them side by side until one is done, and give the others up. Raises what that one raises."""
    tasks = [asyncio.ensure_future(doing) for doing in doings]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()
