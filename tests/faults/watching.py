"""Whoever follows runs over HTTP to their ends: what is sent must be what stands in the log, all of it, once."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from faults.invariants.evidence import TERMINAL, Log, Record
from faults.observer import Run

AGAIN_SECONDS = 0.2
NDJSON = {"Accept": "application/x-ndjson"}
AWAY = 503
NOT_YET = 404
"""Between the acknowledgement of a run and its row in the tables."""


@dataclass
class _Watch:
    """How far one run has been followed, and a digest of all that was sent."""

    last: int = -1
    status: int | None = None
    digest: Any = field(default_factory=hashlib.sha256)

    def __str__(self) -> str:
        return f"the last event is {self.last}, the last status {self.status}"


class SentBadly(Exception):
    """A service sent what it must not send."""


class Watches:
    """Follows runs by a client, each to its end, and goes on behind the last event where a service died."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._watches: dict[Run, _Watch] = {}
        self._tasks: dict[Run, asyncio.Task[None]] = {}

    def begin(self, run: Run) -> None:
        """Follow one more."""
        watch = self._watches[run] = _Watch()
        self._tasks[run] = asyncio.create_task(self._follow(run, watch), name="/".join(run))

    @property
    def are_open(self) -> bool:
        """Whether anything of what was begun is still being sent."""
        return any(not task.done() for task in self._tasks.values())

    async def until_ended(self, seconds: float) -> None:
        """Wait until all that was begun has been sent, or cannot be. Raises TimeoutError, naming what has not."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks.values(), timeout=seconds)
            if left:
                raise TimeoutError("\n".join(self._unended()))

    async def close(self) -> None:
        """Follow nothing any more."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def violations(self, log: Log) -> Iterator[str]:
        """What was not sent, or not as it stands in the log, of the runs that were watched."""
        yield from self._unended()
        for run, task in self._tasks.items():
            if _is_unended(task):
                continue
            error = task.exception()
            if error is None:
                yield from _unlike(run, self._watches[run], log.runs.get(run, ()))
            else:
                yield f"{'/'.join(run)}: {type(error).__name__}: {error}"

    def _unended(self) -> list[str]:
        """The runs of which something was still to be sent."""
        left = [run for run, task in self._tasks.items() if _is_unended(task)]
        return [f"{'/'.join(run)}: no end was sent, {self._watches[run]}" for run in left]

    async def _follow(self, run: Run, watch: _Watch) -> None:
        while True:
            parameters: dict[str, str | int] = {"project": run[0], "after": watch.last, "follow": "true"}
            path = f"/runs/{run[1]}/events"
            try:
                async with self._client.stream("GET", path, params=parameters, headers=NDJSON) as answer:
                    _demand_status(watch, answer.status_code)
                    if answer.status_code == httpx.codes.OK:
                        async for line in answer.aiter_lines():
                            _take(watch, line)
                        return
            except httpx.TransportError:
                pass  # a service that was killed breaks off, and a run may stand still as long as faults last
            await asyncio.sleep(AGAIN_SECONDS)


def _is_unended(task: asyncio.Task[None]) -> bool:
    return not task.done() or task.cancelled()


def _demand_status(watch: _Watch, status: int) -> None:
    """A run that was once there does not go away, and nothing but an outage is an excuse."""
    is_early = status == NOT_YET and watch.status != httpx.codes.OK
    if status not in (httpx.codes.OK, AWAY) and not is_early:
        raise SentBadly(f"status {status}, where {watch}")
    if watch.status != httpx.codes.OK:
        watch.status = status


def _take(watch: _Watch, line: str) -> None:
    try:
        sequence = json.loads(line)["sequence"]
    except (ValueError, KeyError, TypeError) as error:
        raise SentBadly(f"{line!r} was sent behind event {watch.last}") from error
    if sequence != watch.last + 1:
        raise SentBadly(f"event {sequence} was sent behind {watch.last}")
    watch.last = sequence
    watch.digest.update(line.encode() + b"\n")


def _unlike(run: Run, watch: _Watch, records: Sequence[Record]) -> Iterator[str]:
    """It has to go to the end of the run at least, byte for byte."""
    name = "/".join(run)
    ends = [number for number, record in enumerate(records) if record.name in TERMINAL]
    if not ends or watch.last < ends[0]:
        last = records[-1] if records else "nothing"
        yield f"{name}: the answer ended behind event {watch.last}, and the log has {last}"
        return
    sent = hashlib.sha256(b"".join(record.value + b"\n" for record in records[: watch.last + 1]))
    if watch.last >= len(records) or sent.digest() != watch.digest.digest():
        yield f"{name}: what was sent up to event {watch.last} is not what stands in the log"
