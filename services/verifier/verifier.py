"""The verifier, as the runner sees it."""

import asyncio
from pathlib import Path
from time import monotonic

from events.families.base import EventData, Usage
from events.families.failure import FailureClass
from events.families.verify import CheckOutcome, CheckResult, ChecksFailed, ChecksPassed, ChecksRequested
from services.artifacts import ArtifactStore
from services.candidates import Candidates
from services.clipping import clipped
from services.git.inspection import check_out_tree
from services.runner.worker import Assignment, Terms, WorkerTraits
from services.sandbox import Sandbox, SandboxUnavailable, remove_folder
from services.verifier.checking import CheckRunner
from services.verifier.preparation import PreparationFailed, Preparations


class Verifier:
    """Run checks on a candidate, in a sandbox without network, after the preparation."""

    traits = WorkerTraits(
        name="verifier",
        requests=(ChecksRequested,),
        answers=(ChecksPassed, ChecksFailed),
        awaits_claim=False,
        keeps_results=True,
    )

    def __init__(
        self,
        candidates: Candidates,
        sandbox: Sandbox,
        store: ArtifactStore,
        preparations: Preparations,
        folder: Path,
    ) -> None:
        self._candidates = candidates
        self._sandbox = sandbox
        self._store = store
        self._preparations = preparations
        self._folder = folder

    async def terms(self, request: EventData) -> Terms:
        """The request's own limit, which holds all tries of all checks."""
        return Terms(_expected(request).limit_seconds, sandbox=self._sandbox.name)

    async def perform(self, assignment: Assignment) -> ChecksPassed | ChecksFailed:
        """Check the candidate out, run every check, and say how each ended."""
        data = _expected(assignment.request)
        started_at = monotonic()
        mirror = await self._candidates.holding(
            data.repository, assignment.run_id, data.phase_id, data.origin, data.candidate
        )
        folder = self._folder / assignment.claim_id
        try:
            await check_out_tree(mirror, data.candidate, folder)
            lent = await self._preparations.for_candidate(mirror, data, assignment.say)
            runner = CheckRunner(self._sandbox, self._store, folder, lent, assignment.say)
            results = [await runner.run(check, data.tries, data.try_pause_seconds) for check in data.checks]
        except PreparationFailed as error:
            return self.failed(assignment, FailureClass.PREPARATION, str(error))
        except SandboxUnavailable as error:
            return self.failed(assignment, FailureClass.SANDBOX_UNAVAILABLE, str(error))
        finally:
            await asyncio.to_thread(remove_folder, folder)
        return _answer(assignment, data, tuple(results), monotonic() - started_at)

    def failed(self, assignment: Assignment, failure: FailureClass, reason: str) -> ChecksFailed:
        """That the checks could not be run."""
        data = _expected(assignment.request)
        return ChecksFailed(
            request_id=assignment.request_id,
            phase_id=data.phase_id,
            attempt=data.attempt,
            candidate=data.candidate,
            failure=failure,
            reason=clipped(reason),
        )


def _expected(request: EventData) -> ChecksRequested:
    if not isinstance(request, ChecksRequested):
        raise TypeError(f"the verifier has no way to do {type(request).__name__}")
    return request


def _answer(
    assignment: Assignment, data: ChecksRequested, results: tuple[CheckResult, ...], seconds: float
) -> ChecksPassed | ChecksFailed:
    usage = Usage(duration_seconds=round(seconds, 6))
    red = [result for result in results if result.outcome is not CheckOutcome.PASSED]
    if not red:
        return ChecksPassed(
            request_id=assignment.request_id,
            phase_id=data.phase_id,
            attempt=data.attempt,
            candidate=data.candidate,
            tree=data.tree,
            checks=results,
            usage=usage,
        )
    return ChecksFailed(
        request_id=assignment.request_id,
        phase_id=data.phase_id,
        attempt=data.attempt,
        candidate=data.candidate,
        failure=FailureClass.RED_CHECKS,
        reason=clipped("red checks: " + ", ".join(f"{r.name} ({r.outcome})" for r in red)),
        checks=results,
        usage=usage,
    )
