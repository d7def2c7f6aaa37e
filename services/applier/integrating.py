"""Integration: the candidate becomes the head of the run's branch, or it is known why not."""

import asyncio
from contextlib import nullcontext
from time import monotonic
from typing import assert_never

import structlog

from events.families.base import Usage
from events.families.failure import FailureClass
from events.families.integrate import IntegrationFailed, IntegrationRequested, SnapshotCreated
from services.candidates import Candidates
from services.clipping import clipped
from services.git.failures import GitFailure
from services.git.fence import Claim
from services.git.inspection import is_ancestor
from services.git.integration import (
    Diverged,
    Foreign,
    HeadMoved,
    Integrated,
    Integration,
    InTheWay,
    Refused,
    Replaced,
    TagTaken,
    TargetUnreachable,
    integrate,
)
from services.git.mirror import Mirror, fetch_commit
from services.retrying import Backoff
from services.runner.worker import Assignment, WorkReplaced

logger = structlog.get_logger(__name__)


STANDING_BY_SECONDS = 30.0
"""So often at most a target that could not be reached is tried again."""


async def integrate_candidate(
    candidates: Candidates, assignment: Assignment, data: IntegrationRequested, trying_again: asyncio.Semaphore
) -> SnapshotCreated | IntegrationFailed:
    """Try until the target has answered. Raises WorkReplaced when another claim stands at the fence.

    Of those that stand by only so many try at a time as `trying_again` lets: each try may wait for minutes, with a
    process of git that others need.
    """
    started_at = monotonic()
    order = Integration(
        run_id=assignment.run_id,
        tier_id=data.tier_id,
        phase_id=data.phase_id,
        commit=data.candidate,
        expected_head=data.expected_head,
        claim=Claim(assignment.claim_id, assignment.request_id, assignment.earlier_claim_ids, assignment.project),
    )
    backoff = Backoff()
    while True:
        async with trying_again if assignment.standing_by.is_set() else nullcontext():
            try:
                mirror = await candidates.holding(
                    data.repository, assignment.run_id, data.phase_id, data.origin, data.candidate
                )
                outcome = await integrate(mirror, order)
            except GitFailure as error:
                outcome = TargetUnreachable(str(error))
        match outcome:
            case Integrated():
                return _created(assignment, data, monotonic() - started_at)
            case HeadMoved():
                return await _moved(mirror, assignment, data, outcome.actual)
            case Diverged():
                reason = f"the candidate does not descend from {outcome.expected_head}"
                return _failed(assignment, data, FailureClass.DIVERGED, reason)
            case TagTaken():
                reason = f"tag {outcome.tag} already stands for {outcome.actual}"
                return _failed(assignment, data, FailureClass.DIVERGED, reason)
            case Foreign():
                reason = f"{order.branch} belongs to a run of the same id in project {outcome.project!r}"
                return _failed(assignment, data, FailureClass.BRANCH_TAKEN, reason)
            case Replaced():
                raise WorkReplaced(f"claim {outcome.by} stands at the fence")
            case InTheWay():
                reason = f"{outcome.reference} leaves no room for {order.branch}, {order.tag} and {order.fence}"
                return _failed(assignment, data, FailureClass.BRANCH_TAKEN, f"{reason}: rename or remove it")
            case Refused():
                where = outcome.branch or "not there"
                reason = f"the target refuses what is to be written, {order.branch} is {where}: {outcome.detail}"
                return _failed(assignment, data, FailureClass.TARGET_REFUSED, reason)
            case TargetUnreachable():
                logger.warning("target unreachable", run=assignment.run_id, detail=outcome.detail)
                if not assignment.standing_by.is_set():
                    # For a day, it may be: other repositories must not wait for this one.
                    assignment.standing_by.set()
                    backoff = Backoff(most_seconds=STANDING_BY_SECONDS)
                await backoff.pause()
            case _:
                assert_never(outcome)


def _created(assignment: Assignment, data: IntegrationRequested, seconds: float) -> SnapshotCreated:
    return SnapshotCreated(
        request_id=assignment.request_id,
        phase_id=data.phase_id,
        attempt=data.attempt,
        commit=data.candidate,
        tag=data.tag,
        unchecked=data.unchecked,
        usage=Usage(duration_seconds=round(seconds, 6)),
    )


async def _moved(
    mirror: Mirror, assignment: Assignment, data: IntegrationRequested, actual: str | None
) -> IntegrationFailed:
    """A head that moved forward is made the new parent; one that was taken away or rewritten is not."""
    known = data.expected_head or data.origin.parent
    if actual is None:
        return _failed(assignment, data, FailureClass.DIVERGED, "the integration branch was removed")
    try:
        await fetch_commit(mirror, actual)
        forward = await is_ancestor(mirror, known, actual)
    except GitFailure as error:
        return _failed(assignment, data, FailureClass.DIVERGED, f"the branch is at {actual}: {error}")
    if not forward:
        reason = f"the integration branch was rewritten: {actual} does not descend from {known}"
        return _failed(assignment, data, FailureClass.DIVERGED, reason)
    return _failed(assignment, data, FailureClass.MOVED, f"the branch has moved to {actual}", actual)


def _failed(
    assignment: Assignment,
    data: IntegrationRequested,
    failure: FailureClass,
    reason: str,
    head: str | None = None,
) -> IntegrationFailed:
    return IntegrationFailed(
        request_id=assignment.request_id,
        phase_id=data.phase_id,
        attempt=data.attempt,
        failure=failure,
        reason=clipped(reason),
        head=head,
    )
