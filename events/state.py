"""The folded state of a project: frozen values that `evolve` makes anew and `decide` reads."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from immutables import Map
from msgspec import Struct, field
from msgspec.structs import replace

from events.configuration import Configuration
from events.families.base import ArtifactRef, Concern, Feedback, Probe, Usage
from events.families.failure import FailureClass
from events.families.phase import PhaseFailure
from events.families.run import PhaseStrategy, RunRequested, Strategy
from events.families.work import RevokeReason
from events.plan import EXTERNAL, PhaseSpec
from events.states import PhaseState, RunState, TierState
from events.waiting import Line


class RequestKind(StrEnum):
    """Which service a request is for."""

    PREPARE = "prepare"
    BUILD = "build"
    AUDIT = "audit"
    APPLY = "apply"
    CHECKS = "checks"
    INTEGRATION = "integration"


_PAID = (RequestKind.BUILD, RequestKind.AUDIT)


class Claim(Struct, frozen=True):
    """Who works on a request, since when, and for how long it may take."""

    id: str
    instance: str
    at: datetime
    limit_seconds: float


class Owed(Struct, frozen=True):
    """Reports that are missing on what a request has cost, one for each claim; `known` are those that came."""

    request_id: str
    phase_id: str
    attempt: int
    reports: int
    known: tuple[Usage, ...] = ()

    def reported(self, usage: Usage) -> "Owed":
        """One report less is missing."""
        return replace(self, reports=self.reports - 1, known=(*self.known, usage))


class OpenRequest(Struct, frozen=True):
    """A request that has no answer yet. A revoked one only waits for the report of what it used.

    `claims` counts all there were, of agents that have been paid even where another took their place; `settled`
    is what refused answers said of their cost.
    """

    id: str
    kind: RequestKind
    phase_id: str | None
    attempt: int
    opened_at: datetime
    limit_seconds: float
    external: bool = False
    claim: Claim | None = None
    claims: int = 0
    settled: tuple[Usage, ...] = ()
    overdue: bool = False
    revoked: RevokeReason | None = None

    @property
    def stands(self) -> bool:
        """The run waits for its answer."""
        return self.revoked is None

    @property
    def owed(self) -> Owed | None:
        """The reports that are missing on what agents have used for it."""
        reports = (1 if self.external else self.claims) - len(self.settled)
        if self.kind not in _PAID or self.phase_id is None or reports <= 0:
            return None
        return Owed(self.id, self.phase_id, self.attempt, reports, self.settled)


def oldest_first(requests: Iterable[OpenRequest]) -> list[OpenRequest]:
    """In the order in which they were opened. A map's own order differs from process to process."""
    return sorted(requests, key=lambda request: (request.opened_at, request.id))


class Approval(Struct, frozen=True):
    """An auditor's word, bound to what it was given for."""

    base: str | None
    patches: tuple[ArtifactRef, ...]


class ApplyOrder(Struct, frozen=True):
    """What the applier was last asked: by which request, when, and on which parent."""

    request_id: str
    requested_at: datetime
    parent: str | None


class Candidate(Struct, frozen=True):
    """A commit that would become the head; `origin_*` say how to make it again."""

    commit: str
    tree: str
    parent: str
    origin_request_id: str
    origin_requested_at: datetime
    concerns: tuple[Concern, ...] = ()
    checked: bool = False


class Setback(Struct, frozen=True):
    """Why the current attempt failed, and whether another one may follow."""

    cause: PhaseFailure
    failure: FailureClass
    reason: str
    final: bool = False


class Phase(Struct, frozen=True):
    """One phase of an active run.

    What is due next follows from the facts: no patch means a build is due; a patch without the approval it
    needs, an audit; no candidate on the head, an apply; and so on (`events.decide.due`).
    """

    spec: PhaseSpec
    strategy: PhaseStrategy
    depends_on: tuple[str, ...]
    state: PhaseState = PhaseState.QUEUED
    begun: bool = False
    attempt: int = 0
    audits: int = 0
    audits_in_all: int = 0
    patches: tuple[ArtifactRef, ...] = ()
    probes: tuple[Probe, ...] = ()
    review_asked: bool = False
    approval: Approval | None = None
    audited: Approval | None = None
    apply_order: ApplyOrder | None = None
    candidate: Candidate | None = None
    commit: str | None = None
    tag: str | None = None
    setback: Setback | None = None
    feedback: tuple[Feedback, ...] = ()
    tokens_used: int = 0
    attempt_tokens: int = 0
    ended: bool = False


class Tier(Struct, frozen=True):
    """One tier of an active run."""

    tier_id: str
    tier_index: int
    state: TierState = TierState.PENDING
    tokens_used: int = 0
    ci_runs_used: int = 0
    clean: bool = True


class Ending(Struct, frozen=True):
    """The run is about to end: how, why, since when, and what it still waits for."""

    state: RunState
    reason: str
    at: datetime
    revoke: RevokeReason
    phase_id: str | None = None
    failure: FailureClass | None = None
    patience_over: bool = False
    integration_patience_over: bool = False


_SHOWN = {
    PhaseState.QUEUED: RunState.PHASE_QUEUEING,
    PhaseState.EXECUTING: RunState.PHASE_EXECUTION,
    PhaseState.GATE: RunState.GATE,
    PhaseState.CI_RUNNING: RunState.CI_RUNNING,
    PhaseState.COMPLETE: RunState.SNAPSHOT_CREATED,
}


class Run(Struct, frozen=True):
    """One run that has not ended."""

    run_id: str
    origin: tuple[str, str]
    request: RunRequested
    requested_at: datetime
    started_at: datetime | None = None
    base_commit: str | None = None
    configuration: Configuration | None = None
    strategy: Strategy | None = None
    head: str | None = None
    branch_exists: bool = False
    tiers: tuple[Tier, ...] = ()
    phases: tuple[Phase, ...] = ()
    open: Map[str, OpenRequest] = field(default_factory=Map)
    admitted: Map[tuple[str, str], bool] = field(default_factory=Map)
    answered: Map[str, bool] = field(default_factory=Map)
    owed: tuple[Owed, ...] = ()
    phases_started: int = 0
    tokens_used: int = 0
    cost_usd: float = 0.0
    usage_unknown: bool = False
    ci_runs_used: int = 0
    ending: Ending | None = None

    @property
    def accepted(self) -> bool:
        """The strategy is frozen and phases may start."""
        return self.strategy is not None

    @property
    def prepares(self) -> bool:
        """There is a repository to prepare; a run without one only tracks what is reported."""
        return self.request.repository is not None

    @property
    def external(self) -> bool:
        """Its builder runs elsewhere and reports by itself."""
        return self.request.agents.builder == EXTERNAL

    @property
    def shown_state(self) -> RunState:
        """The furthest state of any phase that is running, as users see it."""
        if not self.accepted:
            return RunState.PLAN_BOOTSTRAP
        running = [_SHOWN[p.state] for p in self.phases if p.begun and not p.ended]
        if self.external:
            running = [state for state in running if state is not RunState.PHASE_QUEUEING]
        if running:
            return max(running, key=list(RunState).index)
        landed = any(p.state is PhaseState.COMPLETE for p in self.phases)
        return RunState.SNAPSHOT_CREATED if landed else RunState.RUN_CREATED

    @property
    def requests(self) -> list[OpenRequest]:
        """The open requests, oldest first."""
        return oldest_first(self.open.values())

    @property
    def unsettled(self) -> tuple[Owed, ...]:
        """What agents may have used, and nobody has reported yet."""
        return (*self.owed, *(request.owed for request in self.requests if request.owed))

    @property
    def tokens_are_lower_bound(self) -> bool:
        """Some usage was never reported, or not yet."""
        return self.usage_unknown or bool(self.unsettled)

    def phase(self, phase_id: str | None) -> Phase:
        """The phase of that id; KeyError where the run has none."""
        for phase in self.phases:
            if phase.spec.phase_id == phase_id:
                return phase
        raise KeyError(phase_id)

    def waiting(self, phase_id: str | None) -> OpenRequest | None:
        """The standing request of a phase (of the run itself: None), if there is one."""
        return next((r for r in self.open.values() if r.stands and r.phase_id == phase_id), None)


class EndedRun(Struct, frozen=True):
    """What is kept of a run after its end, for ever: enough to refuse its id and to settle late usage.

    `obstacle` says why it can never be promoted.
    """

    state: RunState
    origin: tuple[str, str]
    head: str | None
    obstacle: str | None = None
    unsettled: tuple[Owed, ...] = ()
    promotions: tuple[tuple[str, str], ...] = ()


class Project(Struct, frozen=True):
    """The boundary of consistency: all runs of one project.

    `adrift` are ended runs of which nobody knows where their integration branch stands, and which nobody has
    taken up again. `lost` are runs in quarantine, which can neither go on nor end.
    """

    project_id: str
    runs: Map[str, Run] = field(default_factory=Map)
    ended: Map[str, EndedRun] = field(default_factory=Map)
    line: Line = field(default_factory=Line)
    adrift: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def started_runs(self) -> int:
        """Runs that hold a slot: begun, not ended, and not lost."""
        return len(self.runs) - len(self.line) - len(self.lost)
