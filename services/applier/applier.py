"""The applier, as the runner sees it: three kinds of request, all of them git."""

import asyncio
from typing import assert_never

from events.catalogue import AnyEventData
from events.families.apply import ApplyRequested, PatchAccepted, PatchRejected
from events.families.base import EventData
from events.families.failure import FailureClass
from events.families.integrate import IntegrationFailed, IntegrationRequested, SnapshotCreated
from events.families.run import PrepareFailed, PrepareRequested, RunPrepared
from services.applier.governing import govern
from services.applier.integrating import integrate_candidate
from services.applier.preparing import prepare_run
from services.candidates import Candidates
from services.clipping import clipped
from services.runner.worker import Assignment, Terms, WorkerTraits

Request = PrepareRequested | ApplyRequested | IntegrationRequested

INTEGRATION_LIMIT_SECONDS = 86_400.0
"""An integration ends when it is known whether the branch has moved, however long the target is away."""


TRYING_AT_ONCE = 2
"""Targets that could not be reached, and are tried again."""


class Applier:
    """Prepares, applies, integrates. Doing any of them again has the same outcome."""

    traits = WorkerTraits(
        name="applier",
        requests=(PrepareRequested, ApplyRequested, IntegrationRequested),
        answers=(RunPrepared, PrepareFailed, PatchAccepted, PatchRejected, SnapshotCreated, IntegrationFailed),
        awaits_claim=False,
        keeps_results=False,
    )

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        self._trying_again = asyncio.Semaphore(TRYING_AT_ONCE)

    async def terms(self, request: EventData) -> Terms:
        """Its own time limits; there is no agent and no sandbox."""
        data = _expected(request)
        if isinstance(data, IntegrationRequested):
            return Terms(INTEGRATION_LIMIT_SECONDS)
        return Terms(data.limit_seconds)

    async def perform(self, assignment: Assignment) -> AnyEventData:
        """Do what is asked for."""
        data = _expected(assignment.request)
        match data:
            case PrepareRequested():
                return await prepare_run(self._candidates, assignment, data)
            case ApplyRequested():
                return await govern(self._candidates, assignment, data)
            case IntegrationRequested():
                return await integrate_candidate(self._candidates, assignment, data, self._trying_again)
            case _:
                assert_never(data)

    def failed(self, assignment: Assignment, failure: FailureClass, reason: str) -> AnyEventData | None:
        """That it could not be done. Of an integration nobody knows that: it stays open, to be looked up."""
        data = _expected(assignment.request)
        reason = clipped(reason)
        match data:
            case PrepareRequested():
                return PrepareFailed(request_id=assignment.request_id, failure=failure, reason=reason)
            case ApplyRequested():
                return PatchRejected(
                    request_id=assignment.request_id,
                    phase_id=data.phase_id,
                    attempt=data.attempt,
                    failure=failure,
                    reason=reason,
                )
            case IntegrationRequested():
                return None
            case _:
                assert_never(data)


def _expected(request: EventData) -> Request:
    if not isinstance(request, Request):
        raise TypeError(f"the applier has no way to do {type(request).__name__}")
    return request
