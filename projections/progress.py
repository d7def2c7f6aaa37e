"""Where phases and runs stand, as users see it, from one event to the next."""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from events.event import Event
from events.families.apply import ApplyRequested
from events.families.audit import AuditRequested
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.failure import FailureClass
from events.families.integrate import IntegrationFailed
from events.families.phase import PhaseCompleted, PhaseFailed, PhaseSkipped, PhaseStarted
from events.families.verify import ChecksRequested
from events.families.work import WorkRevoked, WorkStarted
from events.plan import EXTERNAL
from events.states import PhaseState, RunState
from projections.naming import phase_named


class PhaseProgress(Struct, frozen=True):
    """Where a phase stands. `build_request` is the build that it waits for; a claim names nothing else."""

    state: PhaseState = PhaseState.QUEUED
    begun: bool = False
    ended: bool = False
    build_request: str | None = None


def concerned(event: Event, phase_id: str, progress: PhaseProgress) -> bool:
    """Whether an event speaks of this phase. Claims and revocations name their request alone."""
    match event.data:
        case WorkStarted() | WorkRevoked():
            return event.data.request_id == progress.build_request
        case _:
            return phase_named(event.data) == phase_id


def advance(progress: PhaseProgress, event: Event) -> PhaseProgress:
    """The progress of a phase after an event that speaks of it."""
    match event.data:
        case PhaseStarted():
            return replace(progress, begun=True)
        case BuildRequested():
            # What is asked of an external builder leaves the state that was last reported.
            external = event.data.agent == EXTERNAL
            state = progress.state if external else PhaseState.QUEUED
            return replace(progress, state=state, build_request=event.id)
        case WorkStarted():
            return replace(progress, state=PhaseState.EXECUTING)
        case BuildSucceeded() if event.data.request_id == progress.build_request:
            return replace(progress, state=PhaseState.GATE, build_request=None)
        case BuildFailed() if event.data.request_id == progress.build_request:
            return replace(progress, state=PhaseState.EXECUTING, build_request=None)
        case BuildSucceeded() | BuildFailed() | WorkRevoked():
            # A revoked build still reports what it used, and moves nothing any more.
            return replace(progress, build_request=None)
        case AuditRequested() if event.data.agent == EXTERNAL:
            return progress
        case AuditRequested() | ApplyRequested():
            return replace(progress, state=PhaseState.GATE)
        case ChecksRequested():
            return replace(progress, state=PhaseState.CI_RUNNING)
        case IntegrationFailed() if has_moved(event.data):
            return replace(progress, state=PhaseState.GATE)
        case PhaseCompleted():
            return replace(progress, state=PhaseState.COMPLETE, ended=True)
        case PhaseFailed():
            return replace(progress, state=PhaseState.FAILED, ended=True)
        case PhaseSkipped():
            return replace(progress, state=PhaseState.SKIPPED, ended=True)
        case _:
            return progress


def has_moved(data: IntegrationFailed) -> bool:
    """The branch was found at another commit, on which the candidate is made again."""
    return data.failure is FailureClass.MOVED and data.head is not None


_SHOWN = {
    PhaseState.QUEUED: RunState.PHASE_QUEUEING,
    PhaseState.EXECUTING: RunState.PHASE_EXECUTION,
    PhaseState.GATE: RunState.GATE,
    PhaseState.CI_RUNNING: RunState.CI_RUNNING,
}
_FURTHEST = list(RunState).index


def shown_state(phases: Iterable[PhaseProgress], external: bool) -> RunState:
    """The state of an accepted run: the furthest of any phase that is running.

    An external run shows no queueing: nobody claims its builds.
    """
    known = tuple(phases)
    running = [_SHOWN[p.state] for p in known if p.begun and not p.ended]
    if external:
        running = [state for state in running if state is not RunState.PHASE_QUEUEING]
    if running:
        return max(running, key=_FURTHEST)
    landed = any(p.state is PhaseState.COMPLETE for p in known)
    return RunState.SNAPSHOT_CREATED if landed else RunState.RUN_CREATED
