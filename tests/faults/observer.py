"""What goes on, as the history tells it to anybody: which runs have ended, and which requests are open."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from events.catalogue import Topic
from events.log.port import EventLog, LogUnavailable, Place, StoredRecord, Tail

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
        places = (Place(topic, number) for topic in SUBMITTED for number in range(log.partition_count))
        self._submitted = dict.fromkeys(places, 0)
        self._decided: set[str] = set()
        self._moved = asyncio.Event()
        self.newest: dict[Run, str] = {}
        self.open: dict[str, OpenRequest] = {}
        self.ended: dict[Run, str] = {}
        self.issues: Counter[Run] = Counter()
        self.undecided: dict[str, str] = {}
        """The events that were submitted, and are neither in the history nor refused: their names by their ids."""
        self.events = 0

    async def follow(self) -> None:
        """Until cancelled. A log that is away is waited for."""
        while True:
            tail = self._log.tail()
            try:
                for partition, position in self.positions.items():
                    tail.follow(Place(Topic.EVENTS, partition), position)
                for place, position in self._submitted.items():
                    tail.follow(place, position)
                await self._follow(tail)
            except LogUnavailable:
                await asyncio.sleep(AGAIN_SECONDS)
            finally:
                await tail.close()

    async def _follow(self, tail: Tail) -> None:
        while True:
            for place, records in (await tail.batches(1.0)).items():
                for record in records:
                    self._take(place, record)
            self._moved.set()

    async def moved(self, seconds: float) -> None:
        """Wait until the history may have moved, so long at most."""
        self._moved.clear()
        try:
            await asyncio.wait_for(self._moved.wait(), seconds)
        except TimeoutError:
            return

    async def until_moved(self) -> None:
        """Wait for what is written from now on: what was written before and is only seen now is no movement."""
        while (ends := await self._ends()) is None:
            await asyncio.sleep(AGAIN_SECONDS)
        while all(position <= ends.get(one, 0) for one, position in self.positions.items()):
            await self.moved(1.0)

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
            self._happened(json.loads(record.value))
            self.positions[place.partition] = record.offset + 1
            return
        if place.topic is Topic.REJECTIONS:
            self._decide(record.headers.get("id", b"").decode())
        elif (event := json.loads(record.value))["id"] not in self._decided:
            self.undecided[event["id"]] = _name(event)
        self._submitted[place] = record.offset + 1

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
