"""Commands: one record to the log, then waiting until what became of it can be seen."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import time
from typing import Annotated

from fastapi import Depends, Header
from uuid_utils import uuid7

from events.catalogue import AnyEventData
from events.envelope import write_submission
from events.event import Event
from events.failpoints import failpoint
from events.ids import derived_id
from events.log.port import NewRecord
from projections.answers import AnswerRow
from services.api.context import ApiContext
from services.api.problems import Problem, place_of_fault

SOURCE = "/autopack/api"
LONGEST_WAIT_SECONDS = 10.0
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d+)")
_TRACE = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, `traceparent`. What is none begins a new trace there, and is no fault of a request."""


@dataclass(frozen=True, slots=True)
class Preference:
    """How a client wants its command treated: how long to wait (RFC 7240), under which id it stands, and of which
    trace it is a part (W3C Trace Context).
    """

    wait_seconds: float
    event_id: str
    traceparent: str | None = None


def preference(
    prefer: Annotated[str | None, Header()] = None,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=128)] = None,
    traceparent: Annotated[str | None, Header()] = None,
) -> Preference:
    """Read the headers `Prefer: wait=N`, `Idempotency-Key` and `traceparent`."""
    asked = _WAIT.search(prefer or "")
    wait_seconds = min(float(asked.group(1)), LONGEST_WAIT_SECONDS) if asked else LONGEST_WAIT_SECONDS
    trace = traceparent if traceparent and _TRACE.fullmatch(traceparent) else None
    return Preference(wait_seconds, idempotency_key or str(uuid7()), trace)


def under_own_key(preferred: Preference, *parts: str) -> Preference:
    """The same preference for one kind of command: a client may use a key again for another kind."""
    return replace(preferred, event_id=derived_id(*parts, preferred.event_id))


Preferred = Annotated[Preference, Depends(preference)]


async def emit(
    context: ApiContext, project: str, run_id: str, data: AnyEventData, preferred: Preference
) -> AnswerRow | None:
    """Submit a command; its answer, once the tables show it, or None when the wait was too short."""
    event = Event(
        id=preferred.event_id,
        source=SOURCE,
        run_id=run_id,
        recorded_at=datetime.fromtimestamp(time(), UTC),
        data=data,
        traceparent=preferred.traceparent,
    )
    record = NewRecord(project, write_submission(event, project), {"type": data.type_name().encode()})
    await context.commands.submit(record)
    failpoint("command-submitted")
    return await context.answers.wait(
        project, run_id, SOURCE, preferred.event_id, limit_seconds=preferred.wait_seconds
    )


_STATUS = {"run_ended": 409, "run_not_ended": 409, "quarantined": 409, "too_large": 413}


def refusal(answer: AnswerRow) -> Problem:
    """The problem that a rejection is to a client; what it asked for was at fault, or came at a wrong time."""
    reason, _, message = answer.detail.partition(": ")
    if reason == "duplicate_run_id":
        return Problem(400, f"Run {answer.run_id} already exists", reason=reason)
    faults = [place_of_fault(fault["place"], fault["message"]) for fault in answer.faults]
    status = _STATUS.get(reason, 400)
    return Problem(status, message or reason, reason=reason, errors=faults)
