"""The verifier, as the runner sees it."""

from pathlib import Path
from secrets import token_hex
from time import monotonic

from events.configuration import Check
from events.failpoints import failpoint
from events.families.base import EventData, Usage
from events.families.failure import FailureClass
from events.families.verify import CheckOutcome, CheckResult, ChecksFailed, ChecksPassed, ChecksRequested
from services.artifacts import ArtifactStore
from services.candidates import Candidates, failure_class
from services.clipping import clipped
from services.git.failures import GitFailure
from services.preparation import PreparationFailed, Preparations, Wanted
from services.runner.worker import Assignment, Terms, WorkerTraits
from services.sandbox import Sandbox, SandboxUnavailable
from services.verifier.checking import CheckRunner, Tries, is_of_the_machine
from services.verifier.reporting import reported
from services.verifier.tree import CandidateTree

LAST_PART = 0.1
"""With less than this part of the time left a red check is not tried again."""


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
        try:
            return await self._checked(assignment, data)
        except PreparationFailed as error:
            # Lock files that the base does not have are the candidate's: another attempt may mend them.
            theirs = error.for_changed_locks
            failure = FailureClass.RED_CHECKS if theirs else FailureClass.PREPARATION
            return self.failed(assignment, failure, str(error))
        except SandboxUnavailable as error:
            return self.failed(assignment, FailureClass.SANDBOX_UNAVAILABLE, str(error))
        except GitFailure as error:
            return self.failed(assignment, failure_class(error), str(error))

    async def _checked(self, assignment: Assignment, data: ChecksRequested) -> ChecksPassed | ChecksFailed:
        started_at = monotonic()
        mirror = await self._candidates.holding(
            data.repository, assignment.run_id, data.phase_id, data.origin, data.candidate
        )
        wanted = await self._wanted(data)
        # Of its own for each try of ours: what could not be removed after one is in no other's way.
        tree = CandidateTree(mirror, data.candidate, self._folder / f"{assignment.claim_id}-{token_hex(4)}")
        try:
            folder = await tree.check_out()
            failpoint("tree-made")
            async with self._preparations.lent(mirror, wanted, folder, assignment.say) as lent:
                runner = CheckRunner(self._sandbox, self._store, tree, lent, assignment.say)
                until = started_at + assignment.limit_seconds * (1 - LAST_PART)
                results = await _run_all(runner, data, until)
        finally:
            await tree.remove()
        return _answer(assignment, data, results, monotonic() - started_at)

    async def _wanted(self, data: ChecksRequested) -> Wanted | None:
        if data.prepare is None or data.base_commit is None:
            return None
        await self._candidates.at_commit(data.repository, data.base_commit)
        return Wanted(data.prepare, data.base_commit, locks_of=data.candidate)

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


async def _run_all(runner: CheckRunner, data: ChecksRequested, until: float) -> list[CheckResult]:
    """Every check, in order; a machine that lacks the executable of one need not run the others."""
    tries = Tries(data.tries, data.try_pause_seconds, until)
    results: list[CheckResult] = []
    for check in data.checks:
        results.append(await runner.run(check, tries))
        if _lacks_executable(check, results[-1]):
            break
    return results


def _lacks_executable(check: Check, result: CheckResult) -> bool:
    return result.outcome is CheckOutcome.NOT_STARTED and is_of_the_machine(check)


def _answer(
    assignment: Assignment, data: ChecksRequested, results: list[CheckResult], seconds: float
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
            checks=reported(results),
            usage=usage,
        )
    lacking = any(map(_lacks_executable, data.checks, results))
    return ChecksFailed(
        request_id=assignment.request_id,
        phase_id=data.phase_id,
        attempt=data.attempt,
        candidate=data.candidate,
        failure=FailureClass.CONFIGURATION if lacking else FailureClass.RED_CHECKS,
        reason=clipped(_reason(red, lacking)),
        checks=reported(results),
        usage=usage,
    )


def _reason(red: list[CheckResult], lacking: bool) -> str:
    if lacking:
        return f"check {red[-1].name} cannot be run on this machine: {red[-1].output}"
    return "red checks: " + ", ".join(f"{result.name} ({result.outcome})" for result in red)
