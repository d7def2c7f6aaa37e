"""What the history of a run says, kept apart from the decider's own state, and the rules that it must obey."""

from dataclasses import dataclass, field
from typing import Any

from events.event import Event
from events.families.apply import ApplyRequested, PatchAccepted, PatchRejected
from events.families.audit import AuditCompleted, AuditFailed, AuditRequested, Recommendation
from events.families.base import ArtifactRef, Usage
from events.families.budget import BudgetSettled
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.failure import FailureClass
from events.families.integrate import IntegrationFailed, IntegrationRequested, SnapshotCreated
from events.families.phase import PhaseCompleted, PhaseStarted
from events.families.run import (
    PrepareFailed,
    PrepareRequested,
    RunAccepted,
    RunCompleted,
    RunFailed,
    RunPrepared,
    RunPromoted,
    RunRequested,
)
from events.families.tier import TierCompleted, TierStarted
from events.families.verify import CheckOutcome, ChecksFailed, ChecksPassed, ChecksRequested
from events.families.work import WorkRevoked, WorkStarted
from events.plan import EXTERNAL, SafetyProfile, dependencies, tiers_in_order

REQUESTS = (
    PrepareRequested,
    BuildRequested,
    AuditRequested,
    ApplyRequested,
    ChecksRequested,
    IntegrationRequested,
)
ANSWERS_TO: dict[type, type] = {
    RunPrepared: PrepareRequested,
    PrepareFailed: PrepareRequested,
    BuildSucceeded: BuildRequested,
    BuildFailed: BuildRequested,
    AuditCompleted: AuditRequested,
    AuditFailed: AuditRequested,
    PatchAccepted: ApplyRequested,
    PatchRejected: ApplyRequested,
    ChecksPassed: ChecksRequested,
    ChecksFailed: ChecksRequested,
    SnapshotCreated: IntegrationRequested,
    IntegrationFailed: IntegrationRequested,
}

Bound = tuple[str, str | None, tuple[ArtifactRef, ...]]
"""A phase, the head, and the patches on it."""


class InvariantBroken(AssertionError):
    """The decider broke a rule that must hold whatever happens."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name


def demand(holds: bool, name: str, detail: str) -> None:
    if not holds:
        raise InvariantBroken(name, detail)


@dataclass
class Ledger:
    """One run, as its events alone tell it."""

    run_id: str
    requests: dict[str, Any] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    reported: dict[str, list[Usage]] = field(default_factory=dict)
    claims: dict[str, int] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    attempts: dict[str, int] = field(default_factory=dict)
    audits: dict[tuple[str, int, str | None], int] = field(default_factory=dict)
    approved: set[Bound] = field(default_factory=set)
    made: dict[str, Bound] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    green: set[tuple[str, str]] = field(default_factory=set)
    trees: dict[str, str] = field(default_factory=dict)
    integrating: set[str] = field(default_factory=set)
    landed: dict[str, str] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    complete: set[str] = field(default_factory=set)
    tiers_begun: list[str] = field(default_factory=list)
    tokens: int = 0
    plan: RunRequested | None = None
    accepted: RunAccepted | None = None
    ci_runs: dict[str, int] = field(default_factory=dict)
    clean: bool = True
    head: str | None = None
    terminal: bool = False

    def observe(self, event: Event) -> None:
        """One more event of this run; raises InvariantBroken."""
        data = event.data
        if self.terminal:
            allowed = isinstance(data, RunPromoted | BudgetSettled)
            demand(allowed, "nothing_after_the_end", f"{type(data).__name__} after the terminal event")
        if isinstance(data, REQUESTS):
            self._requested(event.id, data)
        elif type(data) in ANSWERS_TO:
            self._answered(data)
        else:
            self._milestone(data)

    def _milestone(self, data: Any) -> None:
        match data:
            case RunRequested():
                self.plan = data
            case RunAccepted():
                self.accepted = data
            case WorkStarted():
                self.claims[data.request_id] = self.claims.get(data.request_id, 0) + 1
            case WorkRevoked():
                self.revoked.add(data.request_id)
            case TierStarted():
                self._tier_started(data)
            case PhaseStarted():
                self._phase_started(data)
            case PhaseCompleted():
                same = self.landed.get(data.phase_id) == data.commit is not None
                demand(same, "completed_after_snapshot", f"{data.phase_id} is complete, and nothing landed")
                self.complete.add(data.phase_id)
            case BudgetSettled():
                self._settle(data.request_id, data.usage)
            case RunPromoted():
                fit = self.accepted is not None and self.accepted.strategy.checks is not None and self.clean
                fit = fit and data.commit == self.head
                demand(fit, "promoted_as_it_ended", f"{data.commit} is promoted")
            case TierCompleted():
                self._tier_completed(data)
            case RunCompleted() | RunFailed():
                self._ended(data)
            case _:
                pass

    def _tier_started(self, data: TierStarted) -> None:
        self.tiers_begun.append(data.tier_id)
        order = [t.tier_id for t in tiers_in_order(self.plan)] if self.plan else []
        in_order = order[: len(self.tiers_begun)] == self.tiers_begun
        demand(in_order, "dependencies_first", f"tiers begun: {self.tiers_begun}")

    def _tier_completed(self, data: TierCompleted) -> None:
        self.clean = self.clean and data.cleanliness == "clean"
        passed = self.ci_runs.get(data.tier_id, 0) > self._most_ci_runs(data.tier_id)
        fits = data.ci_run_limit_exceeded is passed and not (passed and data.cleanliness == "clean")
        demand(fits, "tier_within_limits", f"{data.tier_id} says {data.cleanliness} of {self.ci_runs}")

    def _phase_started(self, data: PhaseStarted) -> None:
        needed = dependencies(self.plan)[data.phase_id] if self.plan else ()
        demand(self.complete.issuperset(needed), "dependencies_first", f"{data.phase_id} began before {needed}")
        demand(data.phase_id not in self.begun, "dependencies_first", f"{data.phase_id} began twice")
        self.begun.add(data.phase_id)

    def _ended(self, data: RunCompleted | RunFailed) -> None:
        self.terminal = True
        self.head = data.head_commit if isinstance(data, RunCompleted) else None
        said = data.tokens_used
        demand(said == self.tokens, "usage_adds_up", f"{said} tokens said, {self.tokens} reported")
        if isinstance(data, RunCompleted):
            wanted = {s.phase_id for s in self.accepted.strategy.phases} if self.accepted else {"?"}
            demand(self.complete == wanted, "success_means_complete", f"complete: {self.complete} of {wanted}")

    # ---- requests

    def _rules(self, phase_id: str) -> Any:
        strategy = self.accepted.strategy if self.accepted else None
        return next(s for s in (strategy.phases if strategy else ()) if s.phase_id == phase_id)

    def _requested(self, request_id: str, data: Any) -> None:
        demand(request_id not in self.requests, "one_answer_per_request", f"{request_id} was asked twice")
        self.requests[request_id] = data
        match data:
            case BuildRequested():
                self._build_requested(data)
            case AuditRequested():
                key = (data.phase_id, data.attempt, data.base_commit)
                self.audits[key] = self.audits.get(key, 0) + 1
                limit = self._rules(data.phase_id).auditor_attempts
                demand(self.audits[key] <= limit, "attempts_within_limits", f"audit {self.audits[key]} of {limit}")
            case ChecksRequested():
                self._checks_requested(data)
            case IntegrationRequested():
                self._integration_requested(request_id, data)
            case _:
                pass

    def _build_requested(self, data: BuildRequested) -> None:
        before = self.attempts.get(data.phase_id, 0)
        limit = self._rules(data.phase_id).builder_attempts
        fits = data.attempt == before + 1 <= limit
        demand(fits, "attempts_within_limits", f"attempt {data.attempt} after {before}, of {limit}")
        self.attempts[data.phase_id] = data.attempt

    def _checks_requested(self, data: ChecksRequested) -> None:
        tier_id = self._tier(data.phase_id)
        self.ci_runs[tier_id] = self.ci_runs.get(tier_id, 0) + 1
        critical = self.plan is not None and self.plan.safety_profile is SafetyProfile.SAFETY_CRITICAL
        within = not critical or self.ci_runs[tier_id] <= self._most_ci_runs(tier_id)
        demand(within, "tier_within_limits", f"{self.ci_runs[tier_id]} rounds of checks in {tier_id}")

    def _tier(self, phase_id: str) -> str:
        return next(p.tier_id for p in (self.plan.phases if self.plan else ()) if p.phase_id == phase_id)

    def _most_ci_runs(self, tier_id: str) -> int:
        return 2 * sum(p.tier_id == tier_id for p in (self.plan.phases if self.plan else ()))

    def _integration_requested(self, request_id: str, data: IntegrationRequested) -> None:
        demand(not self.integrating, "one_integration_at_once", f"{self.integrating} still open")
        self.integrating.add(request_id)
        self._demand_green(data.candidate)
        made = self.made.get(data.candidate)
        bound = (data.phase_id, data.origin.parent, data.origin.patches)
        demand(made == bound, "approved_before_integration", f"{data.candidate} is made of something else")
        needs = self._rules(data.phase_id).audit_required or data.candidate in self.doubtful
        approved = not needs or bound in self.approved
        demand(approved, "approved_before_integration", f"no approval for {data.candidate}")

    def _demand_green(self, candidate: str) -> None:
        unchecked = self.accepted is not None and self.accepted.strategy.checks is None
        green = (candidate, self.trees.get(candidate, "")) in self.green
        demand(green or unchecked, "green_before_integration", f"no green checks on {candidate}")

    # ---- answers

    def _answered(self, data: Any) -> None:
        request_id = data.request_id
        request: Any = self.requests.get(request_id)
        name = type(data).__name__
        fits = type(request) is ANSWERS_TO[type(data)]
        demand(fits, "one_answer_per_request", f"{name} answers a {type(request).__name__}")
        once = request_id not in self.answered and request_id not in self.closed
        demand(once, "one_answer_per_request", f"{name} is a second answer to {request_id}")
        if request_id in self.revoked:
            honest = getattr(data, "failure", None) is FailureClass.REVOKED
            demand(honest, "one_answer_per_request", f"{name} answers a revoked request")
        if not isinstance(data, RunPrepared | PrepareFailed):
            same = (data.phase_id, data.attempt) == (request.phase_id, request.attempt)
            demand(same, "one_answer_per_request", f"{name} for another phase or attempt")
            self.tokens += data.usage.tokens.total if data.usage.tokens else 0
            self.reported.setdefault(request_id, []).append(data.usage)
        self.answered.add(request_id)
        self.integrating.discard(request_id)
        if request_id not in self.revoked:
            self._learn(data, request)

    def _learn(self, data: Any, request: Any) -> None:
        match data:
            case AuditCompleted() if data.recommendation is Recommendation.APPROVE:
                self.approved.add((data.phase_id, request.base_commit, request.patches))
            case PatchAccepted():
                self.made[data.candidate] = (data.phase_id, data.parent, request.patches)
                self.trees[data.candidate] = data.tree
                if data.concerns:
                    self.doubtful.add(data.candidate)
            case ChecksPassed():
                same = (data.candidate, data.tree) == (request.candidate, request.tree)
                demand(same, "green_before_integration", "checks passed on another commit than was asked about")
                passed = {check.name for check in data.checks if check.outcome is CheckOutcome.PASSED}
                green = passed == {check.name for check in request.checks} >= {c.name for c in data.checks}
                demand(green, "green_before_integration", f"{data.checks} are taken for green")
                self.green.add((data.candidate, data.tree))
            case SnapshotCreated():
                demand(data.commit == request.candidate, "green_before_integration", "another commit landed")
                said = (data.tag, data.unchecked) == (request.tag, request.unchecked)
                demand(said, "green_before_integration", "the snapshot is another than was asked for")
                self._demand_green(data.commit)
                self.landed[data.phase_id] = data.commit
            case _:
                pass

    def _settle(self, request_id: str, usage: Usage) -> None:
        """One report for each claim (an external agent makes none), and none that is known already."""
        request = self.requests.get(request_id)
        paid = isinstance(request, BuildRequested | AuditRequested)
        demand(paid, "usage_adds_up", f"{request_id} is settled, and no agent was ever asked")
        reported = self.reported.setdefault(request_id, [])
        owed = 1 if request.agent == EXTERNAL else self.claims.get(request_id, 0)
        once = len(reported) < owed and usage not in reported
        demand(once, "usage_adds_up", f"{request_id} is settled twice")
        reported.append(usage)
        self.settled.add(request_id)
        if request_id in self.revoked:
            self.closed.add(request_id)
        if not self.terminal:
            self.tokens += usage.tokens.total if usage.tokens else 0
