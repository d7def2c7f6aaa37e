"""What goes on, as the history tells it to anybody: which runs have ended, and which requests are open."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from events.catalogue import Topic
from events.log.port import EventLog, LogUnavailable, Place, StoredRecord, Tail
from faults.builds import TRACKED, kind_of

WORKERS: Mapping[str, str] = {
    "PrepareRequested": "applier",
    "BuildRequested": "builder",
    "AuditRequested": "auditor",
    "ApplyRequested": "applier",
    "ChecksRequested": "verifier",
    "IntegrationRequested": "applier",
}
"""Who answers each request."""
ENDS = ("RunCompleted", "RunFailed")
COUNTED_ALONE = "IssueReported"
EXTERNAL = "external"
"""The agent whose requests no service of ours takes up."""
SUBMITTED = (Topic.COMMANDS, Topic.RESULTS, Topic.REJECTIONS)
"""Where it is seen what is to be decided, and what was refused."""
AGAIN_SECONDS = 0.2
Run = tuple[str, str]
"""Project and run id."""


@dataclass(frozen=True)
class OpenRequest:
    """A request without an answer as yet."""

    run: Run
    kind: str
    is_external: bool = False
    claimer: str | None = None

    @property
    def is_claimed(self) -> bool:
        """Whether some instance has said that it does it."""
        return self.claimer is not None

    def __str__(self) -> str:
        return f"{self.kind.removesuffix('Requested').lower()} {'claimed' if self.is_claimed else 'requested'}"


class Observer:
    """Follows the history of every partition by a reader of its own, and what is submitted."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.positions = dict.fromkeys(range(log.partition_count), 0)
        self._decided: set[str] = set()
        self._moved = asyncio.Event()
        self.newest: dict[Run, str] = {}
        self.open: dict[str, OpenRequest] = {}
        self.ended: dict[Run, str] = {}
        self._homes: dict[Run, int] = {}
        self.trouble = "none"
        """Why following broke off, the last time."""
        self.issues: Counter[Run] = Counter()
        self.undecided: dict[str, str] = {}
        """The events that stand in what was submitted, and are neither in the history nor refused: their names by
        their ids.
        """
        self.events = 0

    async def follow(self) -> None:
        """Until cancelled. A log that is away is waited for."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again_and_again(self._follow_history))
            group.create_task(self._again_and_again(self._follow_submitted))

    async def _again_and_again(self, follow: Callable[[Tail], Awaitable[None]]) -> None:
        while True:
            tail = self._log.tail()
            try:
                await follow(tail)
            except LogUnavailable as error:
                self.trouble = str(error)
                await asyncio.sleep(AGAIN_SECONDS)
            finally:
                await tail.close()

    async def _follow_history(self, tail: Tail) -> None:
        for partition, position in self.positions.items():
            tail.follow(Place(Topic.EVENTS, partition), position)
        await self._take_all(tail)

    async def _follow_submitted(self, tail: Tail) -> None:
        """From the beginning each time: of results a log that dies may take the last along, and then gives out
        their offsets again. Who went on from a position of before would wait for what never comes.
        """
        self.undecided.clear()
        for topic in SUBMITTED:
            for number in self.positions:
                tail.follow(Place(topic, number), 0)
        await self._take_all(tail)

    async def _take_all(self, tail: Tail) -> None:
        while True:
            for place, records in (await tail.batches(1.0)).items():
                for record in records:
                    self._take(place, record)
            self._moved.set()

    async def moved(self, seconds: float) -> None:
        """Wait until the history may have moved, so long at most."""
        self._moved.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._moved.wait()

    async def until_moved(self) -> None:
        """Wait for what is written from now on, wherever runs are being built: what was written before and is only
        seen now is no movement.
        """
        while (ends := await self._ends()) is None:
            await asyncio.sleep(AGAIN_SECONDS)
        built = {run for run in self.active() if kind_of(run[1]) != TRACKED}
        while not self._have_moved(built - self.ended.keys(), ends):
            await self.moved(1.0)

    def _have_moved(self, runs: set[Run], ends: Mapping[int, int]) -> bool:
        moved = {number for number, position in self.positions.items() if position > ends.get(number, 0)}
        return bool(moved) and {self._homes[run] for run in runs} <= moved

    async def _ends(self) -> Mapping[int, int] | None:
        try:
            return await self._log.ends(Topic.EVENTS)
        except LogUnavailable:
            return None

    def active(self) -> list[Run]:
        """The runs that have begun and not ended."""
        return sorted(self.newest.keys() - self.ended.keys())

    def _take(self, place: Place, record: StoredRecord) -> None:
        if place.topic is Topic.EVENTS:
            event = json.loads(record.value)
            self._homes[event["project"], event["runid"]] = place.partition
            self._happened(event)
            self.positions[place.partition] = record.offset + 1
            return
        if place.topic is Topic.REJECTIONS:
            self._decide(record.headers.get("id", b"").decode())
        elif (event := json.loads(record.value))["id"] not in self._decided:
            self.undecided[event["id"]] = _name(event)

    def _happened(self, event: Mapping[str, Any]) -> None:
        self._decide(event["id"])
        self.events += 1
        if (name := _name(event)) == COUNTED_ALONE:
            self.issues[event["project"], event["runid"]] += 1
        else:
            self._read(name, event)

    def _decide(self, event_id: str) -> None:
        self._decided.add(event_id)
        self.undecided.pop(event_id, None)

    def _read(self, name: str, event: Mapping[str, Any]) -> None:
        run, request_id = (event["project"], event["runid"]), event["data"].get("request_id")
        self.newest[run] = name
        if name in WORKERS:
            self.open[event["id"]] = OpenRequest(run, name, event["data"].get("agent") == EXTERNAL)
        elif name == "WorkStarted" and request_id in self.open:
            self.open[request_id] = replace(self.open[request_id], claimer=event["data"]["instance"])
        elif request_id is not None:
            self.open.pop(request_id, None)
        if name in ENDS:
            self.ended[run] = event["data"].get("state", name)
            self.open = {id_: request for id_, request in self.open.items() if request.run != run}


def _name(event: Mapping[str, Any]) -> str:
    return str(event["type"]).split(".")[1]
