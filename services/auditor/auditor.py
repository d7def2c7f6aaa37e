"""The auditor, as the runner sees it."""

import asyncio
from time import monotonic

import orjson

from events.failpoints import failpoint
from events.families.apply import CandidateOrigin
from events.families.audit import AuditCompleted, AuditFailed, AuditRequested
from events.families.base import ArtifactRef, EventData, Finding
from events.families.failure import FailureClass
from services.agents import AgentFailure, AuditAnswer, CommandAgent, Role
from services.agents import answers as agent_answers
from services.clipping import clipped, first
from services.runner.worker import Assignment, Terms, WorkerTraits
from services.workshop import OBSTACLES, Workshop, obstacle_class, paid, session_of

FINDINGS_BYTES = 40_000
PATCHES_LIMIT = 20
_SHORT = 400


class Auditor:
    """Turn a requested audit into a verdict."""

    traits = WorkerTraits(
        name="auditor",
        requests=(AuditRequested,),
        answers=(AuditCompleted, AuditFailed),
        awaits_claim=True,
        keeps_results=True,
    )

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop

    async def terms(self, request: EventData) -> Terms:
        """The lesser of the request's limit and the agent's own."""
        data = _expected(request)
        return self._workshop.terms(Role.AUDITOR, data.agent, data.limit_seconds)

    async def perform(self, assignment: Assignment) -> AuditCompleted | AuditFailed:
        """Show the agent the whole change, and read its verdict."""
        data = _expected(assignment.request)
        try:
            agent = self._workshop.agent(Role.AUDITOR, data.agent)
            return await self._audited(assignment, data, agent)
        except OBSTACLES as obstacle:
            return self.failed(assignment, obstacle_class(obstacle), str(obstacle))

    async def _audited(
        self, assignment: Assignment, data: AuditRequested, agent: CommandAgent
    ) -> AuditCompleted | AuditFailed:
        give_up_at = monotonic() + assignment.limit_seconds
        diff = await self._diff(assignment, data)
        request = await asyncio.to_thread(auditor_request, assignment.run_id, data, diff)
        session = session_of(assignment, give_up_at)
        answer = await paid(assignment, lambda: self._workshop.driver.audit(agent, request, session))
        failpoint("verdict-read")
        log = await self._workshop.store.put(answer.log) if answer.log else None
        if isinstance(answer, AgentFailure):
            return self.failed(assignment, answer.failure, answer.reason, log)
        suggested = [
            await self._workshop.store.put(text.encode())
            for text in answer.verdict.suggested_patches[:PATCHES_LIMIT]
        ]
        return _completed(assignment, data, answer, tuple(suggested), log)

    async def _diff(self, assignment: Assignment, data: AuditRequested) -> bytes:
        if data.base_commit is None:
            return b"\n".join(await self._workshop.candidates.patches(data.patches))
        origin = CandidateOrigin(
            request_id=assignment.request_id,
            requested_at=assignment.requested_at,
            attempt=data.attempt,
            title=data.spec.name,
            parent=data.base_commit,
            patches=data.patches,
        )
        return await self._workshop.candidates.combined_diff(
            assignment.run_id, data.phase_id, data.repository, origin
        )

    def failed(
        self, assignment: Assignment, failure: FailureClass, reason: str, log: ArtifactRef | None = None
    ) -> AuditFailed:
        """That there is no verdict, and what was used as far as it is known."""
        data = _expected(assignment.request)
        return AuditFailed(
            request_id=assignment.request_id,
            phase_id=data.phase_id,
            attempt=data.attempt,
            failure=failure,
            reason=clipped(reason),
            usage=assignment.spending.usage,
            log=log,
        )


def auditor_request(run_id: str, data: AuditRequested, diff: bytes) -> bytes:
    """What the agent is told: JSON, as its contract says."""
    return orjson.dumps(
        {
            "run_id": run_id,
            "phase": data.spec.model_dump(mode="json"),
            "attempt": data.attempt,
            "auditor_profile": data.auditor_profile,
            "focus": data.focus,
            "diff": diff.decode("utf-8", "replace"),
            "probes": [probe.model_dump(mode="json") for probe in data.probes],
            "concerns": [concern.model_dump(mode="json") for concern in data.concerns],
            "context": data.context,
        }
    )


def _expected(request: EventData) -> AuditRequested:
    if not isinstance(request, AuditRequested):
        raise TypeError(f"the auditor has no way to do {type(request).__name__}")
    return request


def _completed(
    assignment: Assignment,
    data: AuditRequested,
    answer: AuditAnswer,
    suggested: tuple[ArtifactRef, ...],
    log: ArtifactRef | None,
) -> AuditCompleted:
    verdict = answer.verdict
    findings = [_finding(found) for found in verdict.findings]
    return AuditCompleted(
        request_id=assignment.request_id,
        phase_id=data.phase_id,
        attempt=data.attempt,
        recommendation=verdict.recommendation,
        confidence=verdict.confidence,
        findings=first(findings, FINDINGS_BYTES, lambda count: Finding(message=f"and {count} more")),
        suggested_patches=suggested,
        usage=assignment.spending.usage,
        log=log,
    )


def _finding(found: agent_answers.Finding) -> Finding:
    return Finding(
        severity=found.severity,
        category=clipped(found.category, _SHORT),
        path=None if found.path is None else clipped(found.path, _SHORT),
        line=found.line,
        message=clipped(found.message, _SHORT),
        issue_key=None if found.issue_key is None else clipped(found.issue_key, _SHORT),
    )
