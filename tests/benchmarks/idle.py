"""Workers that do nothing behind a port that is real, for `python -m benchmarks.idle NAME`."""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping

from events.catalogue import AnyEventData
from events.families.apply import ApplyRequested, PatchAccepted
from events.families.audit import AuditCompleted, AuditRequested, Recommendation
from events.families.base import ArtifactRef, EventData, Tokens, Usage
from events.families.build import BuildRequested, BuildSucceeded
from events.families.failure import FailureClass
from events.families.integrate import IntegrationRequested, SnapshotCreated
from events.families.run import PrepareRequested, RunPrepared
from events.families.verify import CheckOutcome, CheckResult, ChecksPassed, ChecksRequested
from services.applier.applier import Applier
from services.artifacts import open_artifacts
from services.auditor.auditor import Auditor
from services.builder.builder import Builder
from services.garbage import spare_what_stays
from services.logs import open_log
from services.readiness import show_readiness
from services.runner.runner import Runner, RunnerSettings
from services.runner.worker import Assignment, Terms, WorkerTraits
from services.servers import open_servers
from services.settings import Settings
from services.status import ServiceStatus
from services.verifier.verifier import Verifier

TRAITS = {worker.traits.name: worker.traits for worker in (Builder, Auditor, Applier, Verifier)}
AT_ONCE = 256
BASE = "b" * 40
SPENT = Usage(tokens=Tokens(output=10))


def _commit(assignment: Assignment, salt: int) -> str:
    """A commit as a candidate has one: a function of what was asked."""
    return f"{salt:08x}{assignment.request_id.replace('-', '')}"


def _prepared(assignment: Assignment, _: PrepareRequested) -> AnyEventData:
    return RunPrepared(request_id=assignment.request_id, base_commit=BASE)


def _built(assignment: Assignment, request: BuildRequested, patch: ArtifactRef) -> AnyEventData:
    return BuildSucceeded(
        request_id=assignment.request_id,
        phase_id=request.phase_id,
        attempt=request.attempt,
        patch=patch,
        usage=SPENT,
    )


def _audited(assignment: Assignment, request: AuditRequested) -> AnyEventData:
    return AuditCompleted(
        request_id=assignment.request_id,
        phase_id=request.phase_id,
        attempt=request.attempt,
        recommendation=Recommendation.APPROVE,
        confidence=1.0,
        usage=SPENT,
    )


def _applied(assignment: Assignment, request: ApplyRequested) -> AnyEventData:
    return PatchAccepted(
        request_id=assignment.request_id,
        phase_id=request.phase_id,
        attempt=request.attempt,
        candidate=_commit(assignment, 1),
        tree=_commit(assignment, 2),
        parent=request.parent or BASE,
    )


def _checked(assignment: Assignment, request: ChecksRequested) -> AnyEventData:
    return ChecksPassed(
        request_id=assignment.request_id,
        phase_id=request.phase_id,
        attempt=request.attempt,
        candidate=request.candidate,
        tree=request.tree,
        checks=tuple(CheckResult(name=check.name, outcome=CheckOutcome.PASSED) for check in request.checks),
    )


def _integrated(assignment: Assignment, request: IntegrationRequested) -> AnyEventData:
    return SnapshotCreated(
        request_id=assignment.request_id,
        phase_id=request.phase_id,
        attempt=request.attempt,
        commit=request.candidate,
        tag=request.tag,
        unchecked=request.unchecked,
    )


_ANSWERS: Mapping[type[EventData], Callable[..., AnyEventData]] = {
    PrepareRequested: _prepared,
    AuditRequested: _audited,
    ApplyRequested: _applied,
    ChecksRequested: _checked,
    IntegrationRequested: _integrated,
}


class IdleWorker:
    """Answers every request of a service well, and at once; every build with the same patch."""

    def __init__(self, traits: WorkerTraits, patch: ArtifactRef) -> None:
        self.traits = traits
        self._patch = patch

    async def terms(self, request: EventData) -> Terms:
        return Terms(limit_seconds=60.0)

    async def perform(self, assignment: Assignment) -> AnyEventData:
        request = assignment.request
        if isinstance(request, BuildRequested):
            return _built(assignment, request, self._patch)
        return _ANSWERS[type(request)](assignment, request)

    def failed(self, assignment: Assignment, failure: FailureClass, reason: str) -> AnyEventData | None:
        raise AssertionError(f"an idle worker failed: {failure}: {reason}")


async def serve(name: str) -> None:
    """Run a service as in production, but for what it would do, until SIGTERM."""
    settings, stop = Settings(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with open_servers(settings) as servers:
        log = await open_log(settings, servers)
        status = ServiceStatus(name)
        store = open_artifacts(settings.artifacts_url)
        worker = IdleWorker(TRAITS[name], await store.put(b"a patch\n"))
        spare_what_stays()
        runner = Runner(log, worker, store, RunnerSettings(AT_ONCE), status)
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run(stop))
            group.create_task(show_readiness(settings.home_folder, [status], stop))
        await log.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
