"""Admission: may a submitted record enter the history, given all that stands there?"""

from events.catalogue import SUBMITTED_TO
from events.decide.attempts import checks_asked
from events.decide.context import Context
from events.decide.deadlines import deadlines, turn
from events.decide.room import plan_too_large
from events.decide.verdicts import Admitted, Duplicate, Reason, Rejection, Verdict
from events.envelope import GENESIS_HASH, write_history
from events.event import Event
from events.families.apply import PatchAccepted, PatchRejected
from events.families.audit import AuditCompleted, AuditFailed
from events.families.base import LARGEST_COUNT
from events.families.build import BuildFailed, BuildSucceeded
from events.families.failure import FailureClass
from events.families.integrate import IntegrationFailed, SnapshotCreated
from events.families.issue import IssueReported
from events.families.phase import PhaseOverrideRequested
from events.families.run import PrepareFailed, RunCancelRequested, RunPrepared, RunPromoted, RunRequested
from events.families.sizes import EVENT_LIMIT_BYTES
from events.families.time import DeadlinePassed
from events.families.verify import CheckOutcome, ChecksFailed, ChecksPassed
from events.families.work import WorkStarted
from events.plan import Fault, plan_faults
from events.refs import snapshot_tag
from events.state import EndedRun, OpenRequest, Phase, Project, RequestKind, Run

_ANSWERS: dict[type, RequestKind] = {
    RunPrepared: RequestKind.PREPARE,
    PrepareFailed: RequestKind.PREPARE,
    BuildSucceeded: RequestKind.BUILD,
    BuildFailed: RequestKind.BUILD,
    AuditCompleted: RequestKind.AUDIT,
    AuditFailed: RequestKind.AUDIT,
    PatchAccepted: RequestKind.APPLY,
    PatchRejected: RequestKind.APPLY,
    ChecksPassed: RequestKind.CHECKS,
    ChecksFailed: RequestKind.CHECKS,
    SnapshotCreated: RequestKind.INTEGRATION,
    IntegrationFailed: RequestKind.INTEGRATION,
}

Answer = (
    RunPrepared
    | PrepareFailed
    | BuildSucceeded
    | BuildFailed
    | AuditCompleted
    | AuditFailed
    | PatchAccepted
    | PatchRejected
    | ChecksPassed
    | ChecksFailed
    | SnapshotCreated
    | IntegrationFailed
)


def admit(project: Project, submitted: Event, context: Context) -> Verdict:
    """Admitted, a silent repetition, or a rejection with its reason."""
    data = submitted.data
    if type(data) not in SUBMITTED_TO:
        return Rejection(Reason.NOT_SUBMITTABLE, f"{type(data).__name__} is written by the supervisor alone")
    if isinstance(data, RunRequested):
        return _admit_request(project, submitted, data)
    if (ended := project.ended.get(submitted.run_id)) is not None:
        return _admit_after_the_end(submitted, ended)
    run = project.runs.get(submitted.run_id)
    if run is None:
        return Rejection(Reason.UNKNOWN_RUN, f"project {project.project_id!r} has no run {submitted.run_id!r}")
    if (submitted.source, submitted.id) in run.admitted:
        return Duplicate()
    taken = len(write_history(submitted, project.project_id, LARGEST_COUNT, GENESIS_HASH))
    if taken > EVENT_LIMIT_BYTES:
        message = f"{taken} bytes in the history, {EVENT_LIMIT_BYTES} at most: big things belong into artifacts"
        return Rejection(Reason.TOO_LARGE, message)
    return _admit_into(project, run, submitted, context)


def _admit_request(project: Project, submitted: Event, data: RunRequested) -> Verdict:
    standing = project.runs.get(submitted.run_id) or project.ended.get(submitted.run_id)
    if standing is not None:
        if standing.origin == (submitted.source, submitted.id):
            return Duplicate()
        return Rejection(Reason.DUPLICATE_RUN_ID, f"run id {submitted.run_id!r} is taken in this project")
    faults = (
        *_identity_faults(project, submitted, data),
        *(plan_faults(data) or plan_too_large(data)),
        *_follow_faults(project, data),
    )
    return Rejection(Reason.INVALID_PLAN, faults[0].message, faults) if faults else Admitted()


def _identity_faults(project: Project, submitted: Event, data: RunRequested) -> list[Fault]:
    faults = []
    if data.project not in (None, project.project_id):
        faults.append(Fault(place="project", message=f"{data.project!r} differs from the record's project"))
    if data.run_id not in (None, submitted.run_id):
        faults.append(Fault(place="run_id", message=f"{data.run_id!r} differs from the record's runid"))
    return faults


def _follow_faults(project: Project, data: RunRequested) -> list[Fault]:
    return [
        Fault(place=place, message=f"project {project.project_id!r} has no run {run_id!r}")
        for place, run_id in (("follows", data.follows), ("retry_of", data.retry_of))
        if run_id is not None and run_id not in project.runs and run_id not in project.ended
    ]


def _admit_after_the_end(submitted: Event, ended: EndedRun) -> Verdict:
    data = submitted.data
    if not isinstance(data, RunPromoted):
        return Rejection(Reason.RUN_ENDED, f"run {submitted.run_id!r} has ended as {ended.state}")
    if (submitted.source, submitted.id) in ended.promotions:
        return Duplicate()
    if ended.obstacle is not None:
        message = f"run {submitted.run_id!r} can never be promoted: {ended.obstacle}"
        return Rejection(Reason.RUN_ENDED, message)
    if data.commit != ended.head:
        message = f"{data.commit} is not the commit that run {submitted.run_id!r} ended with"
        return Rejection(Reason.INVALID_DATA, message, (Fault(place="commit", message=message),))
    return Admitted()


def _admit_into(project: Project, run: Run, submitted: Event, context: Context) -> Verdict:
    data = submitted.data
    match data:
        case RunPromoted():
            return Rejection(Reason.RUN_NOT_ENDED, f"run {run.run_id!r} has not ended")
        case PhaseOverrideRequested():
            return Rejection(Reason.UNSUPPORTED, "phases cannot be overridden in this version")
        case RunCancelRequested():
            return Admitted()
        case IssueReported():
            known = any(p.phase_id == data.phase_id for p in run.request.phases)
            return Admitted() if known else _no_phase(data.phase_id)
        case DeadlinePassed():
            return _admit_deadline(project, run, data, context)
        case WorkStarted():
            return _admit_claim(run, data)
        case _:
            return _admit_answer(run, data)  # type: ignore[arg-type]


def _no_phase(phase_id: str) -> Rejection:
    return Rejection(
        Reason.INVALID_DATA, f"the run has no phase {phase_id!r}", (Fault(place="phase_id", message="unknown"),)
    )


def _admit_deadline(project: Project, run: Run, data: DeadlinePassed, context: Context) -> Verdict:
    standing = (*deadlines(run), turn(project, context.runs_at_once))
    sought = (run.run_id, data.kind, data.request_id)
    found = next((d for d in standing if d and (d.run_id, d.kind, d.request_id) == sought), None)
    if found is None:
        return Rejection(Reason.MOOT_DEADLINE, f"no {data.kind} deadline stands")
    if context.now < found.due_at:
        return Rejection(Reason.EARLY_DEADLINE, f"the {data.kind} deadline is at {found.due_at.isoformat()}")
    return Admitted()


def _admit_claim(run: Run, data: WorkStarted) -> Verdict:
    request = run.open.get(data.request_id)
    if request is None:
        return _not_open(run, data.request_id)
    if not request.stands:
        return Rejection(Reason.REVOKED, f"request {request.id} was revoked: {request.revoked}")
    if request.external:
        message = f"request {request.id} is for an external agent, which answers without a claim"
        return Rejection(Reason.UNSUPPORTED, message)
    if data.replaces != (request.claim.id if request.claim else None):
        holder = request.claim.instance if request.claim else "nobody"
        return Rejection(Reason.CLAIM_STANDS, f"request {request.id} is claimed by {holder}")
    return Admitted()


def _not_open(run: Run, request_id: str) -> Rejection:
    if request_id in run.answered:
        return Rejection(Reason.ALREADY_ANSWERED, f"request {request_id} has its answer")
    return Rejection(Reason.UNKNOWN_REQUEST, f"run {run.run_id!r} has no request {request_id}")


def _admit_answer(run: Run, data: Answer) -> Verdict:
    request = run.open.get(data.request_id)
    if request is None:
        return _not_open(run, data.request_id)
    fault = _mismatch(run, request, data)
    if fault:
        return Rejection(Reason.WRONG_ANSWER, f"{type(data).__name__}: {fault}")
    if request.stands:
        return Admitted()
    if getattr(data, "failure", None) is FailureClass.REVOKED:
        return Admitted()
    return Rejection(Reason.REVOKED, f"request {request.id} was revoked: {request.revoked}")


def _mismatch(run: Run, request: OpenRequest, data: Answer) -> str | None:
    """What does not fit: another kind of request, another phase or attempt, another commit."""
    if _ANSWERS[type(data)] is not request.kind:
        return f"request {request.id} is a {request.kind} request"
    if isinstance(data, RunPrepared | PrepareFailed):
        return None
    if (data.phase_id, data.attempt) != (request.phase_id, request.attempt):
        return f"the request is for phase {request.phase_id}, attempt {request.attempt}"
    return _not_as_asked(run, run.phase(data.phase_id), data) if request.stands else None


def _not_as_asked(run: Run, phase: Phase, data: Answer) -> str | None:
    """An answer is bound to what was asked about: parent, candidate, tree; every check; the tag."""
    match data:
        case ChecksPassed():
            return _other_commit(phase, data) or _not_green(run, phase, data)
        case SnapshotCreated():
            return _other_commit(phase, data) or _other_snapshot(run, phase, data)
        case _:
            return _other_commit(phase, data)


def _not_green(run: Run, phase: Phase, data: ChecksPassed) -> str | None:
    """Green means that every check that was asked for has passed, on whichever try."""
    passed = {check.name for check in data.checks if check.outcome is CheckOutcome.PASSED}
    red = [check.name for check in data.checks if check.name not in passed]
    missing = [check.name for check in checks_asked(run, phase) if check.name not in passed]
    return f"not passed: {', '.join(dict.fromkeys((*red, *missing)))}" if red or missing else None


def _other_snapshot(run: Run, phase: Phase, data: SnapshotCreated) -> str | None:
    tag = snapshot_tag(run.run_id, phase.spec.tier_id, phase.spec.phase_id)
    unchecked = run.strategy is None or run.strategy.checks is None
    if data.tag != tag:
        return f"its tag is {data.tag}, asked for was {tag}"
    return None if data.unchecked is unchecked else f"the run has {'no' if unchecked else 'its'} checks"


def _other_commit(phase: Phase, data: Answer) -> str | None:
    candidate = phase.candidate
    match data:
        case PatchAccepted():
            asked = phase.apply_order.parent if phase.apply_order else None
            return None if data.parent == asked else f"its parent is {data.parent}, asked for was {asked}"
        case ChecksPassed():
            bound = candidate is not None and (data.candidate, data.tree) == (candidate.commit, candidate.tree)
        case ChecksFailed():
            bound = candidate is not None and data.candidate == candidate.commit
        case SnapshotCreated():
            bound = candidate is not None and data.commit == candidate.commit
        case _:
            bound = True
    return None if bound else "it speaks of another commit or tree than the candidate's"
