"""Live output of agents and checks: lines for whoever watches, never part of the state."""

import asyncio
from collections.abc import Callable

import orjson
import structlog

from events.catalogue import Topic
from events.failpoints import failpoint
from events.log.port import EventLog, LogUnavailable, NewRecord

FLUSH_SECONDS = 0.25
LINES_KEPT = 40
LINE_LENGTH_LIMIT = 500
Key = tuple[str, str, str, str]
logger = structlog.get_logger(__name__)


class LiveOutput:
    """Collects the last lines of running work and submits them now and then.

    Losing lines is allowed: only the last ones of each interval are sent, and a log that is away is not
    waited for.
    """

    def __init__(self, log: EventLog, service: str) -> None:
        self._log = log
        self._service = service
        self._lines: dict[Key, list[str]] = {}
        self._arrived = asyncio.Event()

    def channel(self, project: str, run_id: str, phase_id: str, request_id: str) -> Callable[[str], None]:
        """A function that takes the lines of one piece of work."""
        key = (project, run_id, phase_id, request_id)

        def say(line: str) -> None:
            kept = self._lines.setdefault(key, [])
            kept.append(line[:LINE_LENGTH_LIMIT])
            del kept[:-LINES_KEPT]
            self._arrived.set()
            failpoint("work-running")

        return say

    async def run(self) -> None:
        """Send what has come, until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(FLUSH_SECONDS)
            self._arrived.clear()
            lines, self._lines = self._lines, {}
            await self._send(lines)

    async def _send(self, lines: dict[Key, list[str]]) -> None:
        """Lines are for watching only: what does not get through is gone, and the next ones may."""
        try:
            await self._log.submit(Topic.OUTPUT, [self._record(key, said) for key, said in lines.items()])
        except LogUnavailable:
            return
        except Exception:
            logger.exception("output not shown", service=self._service)

    def _record(self, key: Key, lines: list[str]) -> NewRecord:
        project, run_id, phase_id, request_id = key
        body = {
            "service": self._service,
            "runid": run_id,
            "phase_id": phase_id,
            "request_id": request_id,
            "lines": lines,
        }
        return NewRecord(project, orjson.dumps(body), {"run": run_id.encode()})
