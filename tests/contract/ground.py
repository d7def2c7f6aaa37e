"""What the contract's tests stand on: one log, its openings, and the children that open it too."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import ModuleType

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import EventLog, NewRecord, Place, StoredRecord

CHILDREN = Path(__file__).with_name("children")
LINE_LIMIT_SECONDS = 60.0

OpenLog = Callable[[], Awaitable[EventLog]]


class Child:
    """A process of its own that works on the log, told lines and telling lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def tell(self, line: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def line(self, limit_seconds: float = LINE_LIMIT_SECONDS) -> str:
        """Its next line; empty when it has ended."""
        assert self._process.stdout is not None
        async with asyncio.timeout(limit_seconds):
            return (await self._process.stdout.readline()).decode().rstrip("\n")

    async def rest(self, limit_seconds: float = LINE_LIMIT_SECONDS) -> list[str]:
        """All that it still says, until it ends."""
        assert self._process.stdout is not None
        async with asyncio.timeout(limit_seconds):
            return (await self._process.stdout.read()).decode().splitlines()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def end(self) -> None:
        """Kill it, where it still runs."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Ground:
    """One log, empty at first."""

    def __init__(self, provider: ModuleType, address: str) -> None:
        self._provider = provider
        self._address = address
        self._logs: list[EventLog] = []
        self._children: list[Child] = []
        self.silence_seconds: float = provider.SILENCE_SECONDS

    async def open_log(self) -> EventLog:
        """Open the log once more."""
        log: EventLog = await self._provider.open_log(self._address)
        self._logs.append(log)
        return log

    async def write_foreign(
        self, place: Place, key: bytes | None, value: bytes, headers: Mapping[str, bytes]
    ) -> None:
        """Write a record as a program that is not ours would."""
        await self._provider.write_foreign(self._address, place, key, value, headers)

    async def delete_before(self, place: Place, offset: int) -> None:
        """Delete the records before an offset as an administrator would, whoever has read them or not."""
        await self._provider.delete_before(self._address, place, offset)

    async def launch(self, script: str, *arguments: str) -> Child:
        """Start a child that opens this log; its errors go where the test's own go."""
        name = self._provider.__name__.rpartition(".")[2]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(CHILDREN / script), name, self._address, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(CHILDREN.parent.parent)},
        )
        child = Child(process)
        self._children.append(child)
        return child

    async def close(self) -> None:
        """End the children, close the logs."""
        for child in self._children:
            await child.end()
        for log in self._logs:
            await log.close()


def project_at(log: EventLog, partition: int) -> str:
    """A project whose home this partition is."""
    names = (f"project-{number}" for number in range(10_000))
    return next(name for name in names if home_partition(name, log.partition_count) == partition)


def record(key: str, value: str | bytes, **headers: bytes) -> NewRecord:
    """A record to write."""
    return NewRecord(key, value.encode() if isinstance(value, str) else value, headers)


async def submit_to(log: EventLog, partition: int, count: int) -> None:
    """As many commands and results as a writer is going to say that it has read."""
    project = project_at(log, partition)
    for topic in (Topic.COMMANDS, Topic.RESULTS):
        await log.submit(topic, [record(project, "submitted")] * count)


async def read_all(log: EventLog, place: Place, start: int = 0) -> list[StoredRecord]:
    """Every record of a place from an offset to its present end, page by page."""
    end = (await log.ends(place.topic))[place.partition]
    found: list[StoredRecord] = []
    while start < end:
        page = await log.read(place, start, end)
        if not page:
            break
        found += page
        start = page[-1].offset + 1
    return found


async def history(log: EventLog, partition: int, start: int = 0) -> list[str]:
    """The values of a partition's history, as text."""
    return [record.value.decode() for record in await read_all(log, Place(Topic.EVENTS, partition), start)]
