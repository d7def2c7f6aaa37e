"""The governed path: from patches to a candidate commit, or to every reason why not."""

import asyncio
from time import monotonic

from events.failpoints import failpoint
from events.families.apply import ApplyRequested, CandidateOrigin, PatchAccepted, PatchRejected
from events.families.base import Concern, Usage, Violation
from events.families.failure import FailureClass
from services.candidates import Candidates, failure_class
from services.clipping import clipped, first
from services.git.applying import Conflict
from services.git.candidate import Candidate, Made, NoChange, Unrepresentable, keep_candidate
from services.git.change import read_change
from services.git.failures import GitFailed, GitFailure, GitOutputTooLarge, GitTimedOut, PatchTooLarge
from services.git.mirror import Mirror
from services.git.quarantine import Quarantine, keep_objects, open_quarantine
from services.git.reference_names import candidate_reference
from services.policy import concerns as concerned
from services.policy import judge as judged
from services.policy import policy as rules
from services.runner.worker import Assignment

VIOLATIONS_BYTES = 44_000
CONCERNS_BYTES = 12_000
FILES_BYTES = 40_000
_SHORT = 300
_PATH_CHARACTERS = 1000


async def govern(
    candidates: Candidates, assignment: Assignment, data: ApplyRequested
) -> PatchAccepted | PatchRejected:
    """Make the candidate in quarantine, judge it, and keep it only if it breaks no rule."""
    governed = _Governed(candidates, assignment, data)
    try:
        return await governed.outcome()
    except (PatchTooLarge, GitTimedOut, GitOutputTooLarge) as error:
        return governed.rejected(FailureClass.TOO_LARGE, str(error))
    except GitFailed:
        raise  # a git that fails where it should not is a fault of ours, to be tried again
    except GitFailure as error:
        return governed.rejected(failure_class(error), str(error))


class _Governed:
    """One request on its way."""

    def __init__(self, candidates: Candidates, assignment: Assignment, data: ApplyRequested) -> None:
        self._candidates = candidates
        self._assignment = assignment
        self._data = data
        self._started_at = monotonic()

    async def outcome(self) -> PatchAccepted | PatchRejected:
        if self._data.parent is None:
            return self.rejected(FailureClass.REPOSITORY_MISSING, "the run has no commit to apply to")
        mirror = await self._candidates.at_commit(self._data.repository, self._data.parent)
        async with open_quarantine(mirror) as quarantine:
            made = await self._candidates.make(
                quarantine, self._assignment.run_id, self._data.phase_id, self._origin(self._data.parent)
            )
            failpoint("commit-made")
            return await self._judge(mirror, quarantine, made)

    def _origin(self, parent: str) -> CandidateOrigin:
        return CandidateOrigin(
            request_id=self._assignment.request_id,
            requested_at=self._assignment.requested_at,
            attempt=self._data.attempt,
            title=self._data.title,
            parent=parent,
            patches=self._data.patches,
        )

    async def _judge(
        self, mirror: Mirror, quarantine: Quarantine, made: Made | Unrepresentable
    ) -> PatchAccepted | PatchRejected:
        refused: tuple[bytes, ...] = ()
        if isinstance(made, Unrepresentable):
            refused, made = made.paths, made.rest
        if isinstance(made, Conflict) and not refused:
            paths = ", ".join(made.paths) or "unknown paths"
            return self.rejected(FailureClass.CONFLICT, f"does not apply: {paths}\n{made.detail}")
        if isinstance(made, NoChange) and not refused:
            return self.rejected(FailureClass.NO_CHANGE, "the patches change nothing")
        changes = made.changes if isinstance(made, Candidate) else ()
        result = made.tree if isinstance(made, Candidate) else self._data.parent or ""
        policy = self._policy()
        change = await read_change(quarantine, changes, result, refused, policy.limits)
        violations = await asyncio.to_thread(judged.judge, change, policy)
        if violations or not isinstance(made, Candidate):
            return await asyncio.to_thread(self._violating, violations)  # they may be as many as files
        await self._keep(mirror, quarantine, made)
        return self._accepted(made, await asyncio.to_thread(concerned.concerns, change))

    def _policy(self) -> rules.Policy:
        return rules.Policy(scope=self._data.scope, allow=self._data.allow, protected=self._data.protected)

    async def _keep(self, mirror: Mirror, quarantine: Quarantine, made: Candidate) -> None:
        await keep_objects(quarantine, made.commit)
        failpoint("objects-written")
        reference = candidate_reference(self._assignment.run_id, self._data.phase_id, self._assignment.request_id)
        await keep_candidate(mirror, reference, made.commit)
        failpoint("candidate-set")

    def _accepted(self, made: Candidate, found: tuple[rules.Concern, ...]) -> PatchAccepted:
        concerns = [_concern(one) for one in found]
        files = [clipped(change.path.decode("utf-8", "replace"), _PATH_CHARACTERS) for change in made.changes]
        return PatchAccepted(
            request_id=self._assignment.request_id,
            phase_id=self._data.phase_id,
            attempt=self._data.attempt,
            parent=made.parent,
            candidate=made.commit,
            tree=made.tree,
            files=first(files, FILES_BYTES, lambda count: f"… and {count} more"),
            concerns=first(concerns, CONCERNS_BYTES, lambda n: Concern(kind="more", message=f"and {n} more")),
            usage=self._usage(),
        )

    def _violating(self, found: tuple[rules.Violation, ...]) -> PatchRejected:
        violations = first(
            [_violation(one) for one in found],
            VIOLATIONS_BYTES,
            lambda count: Violation(rule="more", message=f"and {count} more"),
        )
        where = "; ".join(f"{v.path}: {v.rule}" for v in found)
        return self.rejected(FailureClass.VIOLATIONS, f"{len(found)} policy violations: {where}", violations)

    def rejected(
        self, failure: FailureClass, reason: str, violations: tuple[Violation, ...] = ()
    ) -> PatchRejected:
        """The answer that refuses the patches."""
        return PatchRejected(
            request_id=self._assignment.request_id,
            phase_id=self._data.phase_id,
            attempt=self._data.attempt,
            failure=failure,
            reason=clipped(reason),
            violations=violations,
            usage=self._usage(),
        )

    def _usage(self) -> Usage:
        return Usage(duration_seconds=round(monotonic() - self._started_at, 6))


def _violation(found: rules.Violation) -> Violation:
    line = f" (line {found.line})" if found.line is not None else ""
    message = clipped(f"{found.message.rstrip('.')}{line}. {found.mend}", _SHORT)
    return Violation(rule=found.rule, path=clipped(found.path, _SHORT), message=message)


def _concern(found: rules.Concern) -> Concern:
    line = f" (line {found.line})" if found.line is not None else ""
    message = clipped(f"{found.message}{line}", _SHORT)
    return Concern(kind=found.kind, path=clipped(found.path, _SHORT), message=message)
