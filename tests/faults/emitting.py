"""Who asks for runs, by HTTP and by the log itself, again and again until the log is known to have taken it."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import httpx
from msgspec import structs

from events.catalogue import Topic
from events.log.port import EventLog, LogUnavailable, NewRecord
from faults.observer import Run
from faults.watching import Watches
from support.builds import submitted

AGAIN_SECONDS = 0.2
RECORDS_AT_ONCE = 500
ANSWER_SECONDS = 30.0
"""The API gives the database 8 s, and then the log 10 s, before it says that one of them is away."""
TAKEN = (201, 202)
REFUSED, AWAY = 400, 503


class Unanswered(Exception):
    """A service that is there did not answer in time."""


class AnsweredBadly(Exception):
    """A service answered what nobody promises."""


class Emitter:
    """Submits, and remembers what was acknowledged. What was asked for over HTTP is watched there as well."""

    def __init__(self, log: EventLog, url: str, told: list[tuple[str, int, int, str]]) -> None:
        self._log = log
        self._told = told
        # A connection each: the service behind one may have been killed since the last answer.
        self._client = httpx.AsyncClient(
            base_url=url, timeout=ANSWER_SECONDS, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self.watches = Watches(self._client)
        self.acknowledged: set[Run] = set()
        self.pending = 0

    async def close(self) -> None:
        """Watch no more."""
        await self.watches.close()
        await self._client.aclose()

    async def submit(self, data: Mapping[str, Any], key: str | None = None) -> None:
        """Ask for a run by a record of one's own; under another key than its project it may have to move."""
        await self._submit([structs.replace(_asked(data), key=key or data["project"])])
        self.acknowledged.add((data["project"], data["run_id"]))

    async def submit_unacceptable(self, data: Mapping[str, Any]) -> None:
        """Ask for a run that is to be refused by whoever reads the record."""
        await self._submit([_asked(data)])

    async def post_unacceptable(self, data: Mapping[str, Any]) -> None:
        """Ask over HTTP for a run that is to be refused at once. Raises Unanswered and AnsweredBadly."""
        while (status := await self.post_once(data, {})) != REFUSED:
            if status not in (None, AWAY):
                raise AnsweredBadly(f"{status}, where a plan was to be refused")
            await asyncio.sleep(AGAIN_SECONDS)

    async def submit_all(self, plans: Sequence[Mapping[str, Any]]) -> None:
        """Ask for many runs, in this order."""
        asked = [_asked(one) for one in plans]
        for start in range(0, len(asked), RECORDS_AT_ONCE):
            await self._submit(asked[start : start + RECORDS_AT_ONCE])

    async def cancel(self, run: Run) -> None:
        """Ask that a run end."""
        reason = {"reason": "it would wait for ever"}
        await self._submit([submitted("RunCancelRequested", reason, run[1], run[0], id=str(uuid4()))])

    async def report_issues(self, run: Run, phase_id: str, count: int) -> None:
        """Make a history long: each issue is an event, and changes nothing."""
        data = {"phase_id": phase_id, "issue_key": "noticed", "severity": "minor", "source": "tests"}
        issues = [submitted("IssueReported", data, run[1], run[0], id=str(uuid4())) for _ in range(count)]
        for start in range(0, count, RECORDS_AT_ONCE):
            await self._submit(issues[start : start + RECORDS_AT_ONCE])

    async def _submit(self, records: Sequence[NewRecord]) -> None:
        while True:
            try:
                placed = await self._log.submit(Topic.COMMANDS, records)
            except LogUnavailable:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            break
        for record, (place, offset) in zip(records, placed, strict=True):
            self._told.append((place.topic.value, place.partition, offset, json.loads(record.value)["id"]))

    async def post(self, data: Mapping[str, Any]) -> None:
        """Ask for a run over HTTP, and watch it to its end. Raises Unanswered and AnsweredBadly."""
        run, event_id = (data["project"], data["run_id"]), str(uuid4())
        headers = {"Idempotency-Key": event_id, "Prefer": "wait=2"}
        self.pending += 1
        try:
            while (status := await self.post_once(data, headers)) not in TAKEN:
                if status not in (None, AWAY):
                    raise AnsweredBadly(f"{status}, where run {run} was asked for")
                await asyncio.sleep(AGAIN_SECONDS)
        finally:
            self.pending -= 1
        self.tell_posted(event_id)
        self.acknowledged.add(run)
        self.watches.begin(run)

    def tell_posted(self, event_id: str) -> None:
        """It was acknowledged over HTTP."""
        self._told.append((Topic.COMMANDS.value, -1, -1, event_id))

    async def post_once(self, data: Mapping[str, Any], headers: Mapping[str, str]) -> int | None:
        """The status with which a run that is asked for is answered; None where the service died over it, or is
        not there. Raises Unanswered: whoever is there and says nothing hangs.
        """
        try:
            answer = await self._client.post("/runs/start", json=data, headers=headers)
        except httpx.TimeoutException as error:
            raise Unanswered(f"nothing within {ANSWER_SECONDS:g} s: {error!r}") from error
        except httpx.TransportError:
            return None
        return answer.status_code

    async def ask(self, path: str) -> httpx.Response | None:
        """What the service answers; None where it does not."""
        try:
            return await self._client.get(path)
        except httpx.TransportError:
            return None

    async def get(self, path: str) -> str:
        """What the service answers, whatever its status; nothing where it cannot be reached."""
        answer = await self.ask(path)
        return "" if answer is None else answer.text

    async def lag(self) -> float | None:
        """How many records the read models have yet to read, as the service says; None where it does not say."""
        lags = re.findall(r"^autopack_projection_lag\{.*\} (\S+)$", await self.get("/metrics"), re.MULTILINE)
        return sum(map(float, lags)) if lags else None


def _asked(data: Mapping[str, Any]) -> NewRecord:
    return submitted("RunRequested", data, data["run_id"], data["project"], id=str(uuid4()))
