"""How a run changes when a request is claimed, or stands no longer."""

from msgspec.structs import replace

from events.event import Event
from events.evolve.changes import set_back, with_phase
from events.families.base import Feedback
from events.families.failure import FailureClass
from events.families.work import RevokeReason, WorkRevoked, WorkStarted
from events.state import Claim, Ending, OpenRequest, RequestKind, Run
from events.states import PhaseState, RunState


def evolve_work(run: Run, event: Event, data: WorkStarted | WorkRevoked) -> Run:
    """Fold a claim or a revocation into its run."""
    request = run.open[data.request_id]
    if isinstance(data, WorkStarted):
        limit_seconds = min(data.limit_seconds, request.limit_seconds)
        claim = Claim(event.id, data.instance, event.recorded_at, limit_seconds)
        claimed = replace(request, claim=claim, claims=request.claims + 1)
        return _claimed(replace(run, open=run.open.set(request.id, claimed)), request)
    run = replace(run, open=run.open.set(request.id, replace(request, revoked=data.reason)))
    return _out_of_time(run, event, request) if data.reason is RevokeReason.TIME_LIMIT else run


def _claimed(run: Run, request: OpenRequest) -> Run:
    if request.kind is RequestKind.BUILD and request.phase_id is not None:
        return with_phase(run, request.phase_id, state=PhaseState.EXECUTING)
    return run


def _out_of_time(run: Run, event: Event, request: OpenRequest) -> Run:
    """Nobody answered within the claim's limit: the attempt is over, or the run cannot be prepared."""
    reason = f"no answer to the {request.kind} request within its time limit"
    if request.phase_id is None:
        ending = Ending(
            RunState.DONE_FAILED_ENVIRONMENT,
            reason,
            event.recorded_at,
            RevokeReason.RUN_FAILED,
            failure=FailureClass.TIMEOUT,
        )
        return replace(run, ending=run.ending or ending)
    if request.kind is RequestKind.AUDIT:
        return run
    feedback = Feedback(attempt=request.attempt, stage=request.kind, summary=reason)
    return set_back(run, request.phase_id, FailureClass.TIMEOUT, reason, feedback)
