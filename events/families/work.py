"""The work family: the claim of a request, of every kind, and its end before an answer."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from events.families.base import EventData, Identifier, Seconds, Text


class RevokeReason(StrEnum):
    """Why a request stands no longer."""

    RUN_CANCELLED = "run_cancelled"
    RUN_FAILED = "run_failed"
    BUDGET = "budget"
    TIME_LIMIT = "time_limit"


class WorkStarted(EventData):
    """A worker claims a request. Its time limit is counted from here: the request's own, where that is less.

    `replaces` names the claim (the id of an earlier WorkStarted) whose instance the claimant has seen gone.
    """

    request_id: Identifier
    instance: Identifier
    limit_seconds: Annotated[Seconds, Field(gt=0)]
    replaces: Identifier | None = None
    agent: Text | None = None
    agent_version: Text | None = None
    sandbox: Text | None = None


class WorkRevoked(EventData):
    """A request stands no longer; its worker stops and reports what it used."""

    request_id: Identifier
    reason: RevokeReason
