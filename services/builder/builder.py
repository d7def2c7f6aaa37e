"""The builder, as the runner sees it."""

from secrets import token_hex
from time import monotonic

import orjson

from events.failpoints import failpoint
from events.families.base import ArtifactRef, EventData, Probe, SuggestedIssue
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.failure import FailureClass
from services.agents import AgentFailure, BuildAnswer, CommandAgent, Role, Session
from services.agents import answers as agent_answers
from services.agents.report import MOST_EVIDENCE, MOST_PATHS
from services.clipping import clipped, first
from services.git.failures import GitFailure, GitOutputTooLarge, GitTimedOut
from services.git.patch import TakenPatch, take_patch
from services.git.workspace import Workspace, clone_for_agent
from services.preparation import Wanted
from services.runner.worker import Assignment, Terms, WorkerTraits
from services.sandbox import work_folder
from services.workshop import OBSTACLES, Workshop, obstacle_class, paid, session_of

FILES_BYTES = 20_000
PROBES_BYTES = 12_000
ISSUES_BYTES = 14_000
_SHORT = 400
_PATH_CHARACTERS = 1000


class Builder:
    """Turn a requested build into a patch."""

    traits = WorkerTraits(
        name="builder",
        requests=(BuildRequested,),
        answers=(BuildSucceeded, BuildFailed),
        awaits_claim=True,
        keeps_results=True,
    )

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop

    async def terms(self, request: EventData) -> Terms:
        """The lesser of the request's limit and the agent's own, with the time for the preparation."""
        data = _expected(request)
        preparing_seconds = data.prepare.timeout_seconds if data.prepare else 0.0
        return self._workshop.terms(Role.BUILDER, data.agent, data.limit_seconds, preparing_seconds)

    async def perform(self, assignment: Assignment) -> BuildSucceeded | BuildFailed:
        """Clone, let the agent work, and take what it changed."""
        data = _expected(assignment.request)
        try:
            agent = self._workshop.agent(Role.BUILDER, data.agent)
            return await self._in_clone(assignment, data, agent)
        except OBSTACLES as obstacle:
            return self.failed(assignment, obstacle_class(obstacle), str(obstacle))

    async def _in_clone(
        self, assignment: Assignment, data: BuildRequested, agent: CommandAgent
    ) -> BuildSucceeded | BuildFailed:
        if data.base_commit is None:
            return self.failed(assignment, FailureClass.REPOSITORY_MISSING, "the run has no repository")
        failpoint("claimed")
        give_up_at = monotonic() + assignment.limit_seconds
        mirror = await self._workshop.candidates.at_commit(data.repository, data.base_commit)
        wanted = await self._wanted(data, data.base_commit)
        # Of its own for each try: what could not be removed after one is in no other's way.
        async with work_folder(self._workshop.folder / f"{assignment.claim_id}-{token_hex(4)}") as folder:
            workspace = await clone_for_agent(mirror, data.base_commit, folder)
            failpoint("clone-made")
            preparations = self._workshop.preparations
            async with preparations.lent(mirror, wanted, workspace.tree, assignment.say) as lent:
                session = session_of(assignment, give_up_at, lent)
                return await self._built(assignment, data, agent, workspace, session)

    async def _wanted(self, data: BuildRequested, base: str) -> Wanted | None:
        if data.prepare is None:
            return None
        prepared_at = data.prepare_at or base
        await self._workshop.candidates.at_commit(data.repository, prepared_at)
        return Wanted(data.prepare, prepared_at, locks_of=base)

    async def _built(
        self,
        assignment: Assignment,
        data: BuildRequested,
        agent: CommandAgent,
        workspace: Workspace,
        session: Session,
    ) -> BuildSucceeded | BuildFailed:
        request = builder_request(assignment.run_id, data)
        driver = self._workshop.driver
        answer = await paid(assignment, lambda: driver.build(agent, workspace.tree, request, session))
        log = await self._kept_log(answer.log)
        if isinstance(answer, AgentFailure):
            return self.failed(assignment, answer.failure, answer.reason, log)
        try:
            taken = await take_patch(workspace)
        except GitFailure as error:
            return self.failed(assignment, _class_of_unreadable(error), str(error), log)
        failpoint("diff-taken")
        if (fault := _fault_of(taken)) is not None:
            return self.failed(assignment, *fault, log)
        patch = await self._workshop.store.put(taken.patch)
        return _succeeded(assignment, data, answer, taken, patch, log)

    async def _kept_log(self, log: bytes) -> ArtifactRef | None:
        return await self._workshop.store.put(log) if log else None

    def failed(
        self, assignment: Assignment, failure: FailureClass, reason: str, log: ArtifactRef | None = None
    ) -> BuildFailed:
        """That there is no patch, and what was used as far as it is known."""
        data = _expected(assignment.request)
        return BuildFailed(
            request_id=assignment.request_id,
            phase_id=data.phase_id,
            attempt=data.attempt,
            failure=failure,
            reason=clipped(reason),
            usage=assignment.spending.usage,
            log=log,
        )


def builder_request(run_id: str, data: BuildRequested) -> bytes:
    """What the agent is told: JSON, as its contract says."""
    return orjson.dumps(
        {
            "run_id": run_id,
            "phase": data.spec.model_dump(mode="json"),
            "attempt": data.attempt,
            "base_commit": data.base_commit,
            "feedback": [told.model_dump(mode="json") for told in data.feedback],
            "tokens_left": data.tokens_left,
            "seconds_left": data.seconds_left,
        }
    )


def _expected(request: EventData) -> BuildRequested:
    if not isinstance(request, BuildRequested):
        raise TypeError(f"the builder has no way to do {type(request).__name__}")
    return request


def _class_of_unreadable(error: GitFailure) -> FailureClass:
    """What the agent left cannot be read: that is its doing, and no fault of the machine."""
    match error:
        case GitOutputTooLarge() | GitTimedOut():
            return FailureClass.TOO_LARGE
        case _:
            return FailureClass.BAD_ANSWER


def _fault_of(taken: TakenPatch) -> tuple[FailureClass, str] | None:
    """Why what the agent left cannot be taken as its patch."""
    if taken.oversized:
        named = ", ".join(path.decode("utf-8", "replace") for path in taken.oversized[:20])
        return FailureClass.TOO_LARGE, f"too large to be taken: {named}"
    if not taken.patch:
        return FailureClass.NO_CHANGE, "the agent ended well and changed nothing"
    return None


def _succeeded(
    assignment: Assignment,
    data: BuildRequested,
    answer: BuildAnswer,
    taken: TakenPatch,
    patch: ArtifactRef,
    log: ArtifactRef | None,
) -> BuildSucceeded:
    files = [clipped(file.path.decode("utf-8", "replace"), _PATH_CHARACTERS) for file in taken.files]
    report = answer.report
    return BuildSucceeded(
        request_id=assignment.request_id,
        phase_id=data.phase_id,
        attempt=data.attempt,
        patch=patch,
        files=first(files, FILES_BYTES, lambda count: f"… and {count} more"),
        lines_added=taken.lines_added,
        lines_removed=taken.lines_removed,
        usage=assignment.spending.usage,
        summary=clipped("\n".join((report.summary, *report.notes)).strip()),
        needs_review=report.needs_review,
        probes=first([_probe(probe) for probe in report.probes], PROBES_BYTES, _more_probes),
        issues=first([_issue(issue) for issue in report.issues], ISSUES_BYTES),
        log=log,
    )


def _probe(probe: agent_answers.Probe) -> Probe:
    return Probe(
        name=clipped(probe.name, _SHORT),
        outcome=clipped(probe.outcome, _SHORT),
        exit_code=probe.exit_code,
        output=clipped(probe.output, _SHORT),
    )


def _more_probes(count: int) -> Probe:
    return Probe(name=f"and {count} more")


def _issue(issue: agent_answers.Issue) -> SuggestedIssue:
    return SuggestedIssue(
        issue_key=clipped(issue.issue_key, _SHORT),
        severity=issue.severity or "minor",
        category=clipped(issue.category, _SHORT),
        message=clipped(issue.message, _SHORT),
        paths=tuple(clipped(path, _SHORT) for path in issue.paths[:MOST_PATHS]),
        evidence=tuple(clipped(text, _SHORT) for text in issue.evidence[:MOST_EVIDENCE]),
    )
