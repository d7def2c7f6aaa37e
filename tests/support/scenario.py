"""Given / when / then for the decider: a project driven by hand through its events."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from events.catalogue import AnyEventData
from events.configuration import Configuration
from events.decide import Context, decide
from events.decide.deadlines import Deadline, deadlines
from events.decide.verdicts import Rejection
from events.envelope import write_history
from events.event import Event
from events.evolve import evolve
from events.families.apply import ApplyRequested, PatchAccepted, PatchRejected
from events.families.audit import AuditCompleted, AuditFailed, AuditRequested
from events.families.base import LARGEST_COUNT, ArtifactRef, EventData, Tokens, Usage
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.failure import FailureClass
from events.families.integrate import IntegrationFailed, IntegrationRequested, SnapshotCreated
from events.families.run import RunCancelRequested, RunCompleted, RunFailed, RunPrepared, RunRequested
from events.families.sizes import EVENT_LIMIT_BYTES
from events.families.time import DeadlineKind, DeadlinePassed
from events.families.verify import ChecksFailed, ChecksPassed, ChecksRequested
from events.families.work import WorkStarted
from events.state import OpenRequest, Phase, Project, Run
from events.states import RunState

START = datetime(2026, 1, 1, tzinfo=UTC)
BASE = "b" * 40
PATCH = ArtifactRef(digest="sha256:" + "a" * 64, size_bytes=10)
MENDED = ArtifactRef(digest="sha256:" + "c" * 64, size_bytes=20)
CHECKS = {"normal": [{"name": "tests", "argv": ["true"]}], "strict": [{"name": "all", "argv": ["true"]}]}

REQUEST_TYPES = (BuildRequested, AuditRequested, ApplyRequested, ChecksRequested, IntegrationRequested)


def plan(phases: list[dict[str, Any]] | None = None, **changes: Any) -> RunRequested:
    """A small plan: one tier, the phases given (one by default), checks of its own."""
    phases = phases if phases is not None else [{"phase_id": "P1"}]
    filled = [
        {"tier_id": "T1", "phase_index": index, "name": f"phase {index}", **phase}
        for index, phase in enumerate(phases)
    ]
    tier_ids = sorted({p["tier_id"] for p in filled}) or ["T1"]
    body = {
        "run_id": "run-1",
        "project": "shop",
        "repository": "/srv/shop.git",
        "checks": CHECKS,
        "tiers": [{"tier_id": t, "tier_index": i, "name": t} for i, t in enumerate(tier_ids)],
        "phases": filled,
    }
    return RunRequested.model_validate({**body, **changes})


def commit(number: int) -> str:
    """A commit of its own."""
    return f"{number:040x}"


def used(tokens: int, cost_usd: float | None = None) -> Usage:
    """A usage of so many tokens."""
    return Usage(tokens=Tokens(output=tokens), cost_usd=cost_usd)


@dataclass
class Scenario:
    """A project under test; `say` submits, and remembers what followed."""

    project: Project = field(default_factory=lambda: Project("shop"))
    now: datetime = START
    runs_at_once: int | None = None
    history: list[Event] = field(default_factory=list)
    count: int = 0

    def submit(self, event: Event) -> list[Event] | Rejection:
        decision = decide(self.project, event, Context(self.now, self.runs_at_once))
        written = decision if isinstance(decision, list) else list(decision.settles)
        for one in written:
            self.project = evolve(self.project, one)
        self.history.extend(written)
        return decision

    def event(self, data: AnyEventData, run_id: str = "run-1", **changes: Any) -> Event:
        self.count += 1
        filled = {"id": f"e{self.count}", "source": "/test", **changes}
        return Event(run_id=run_id, recorded_at=self.now, data=data, **filled)

    def say(self, data: AnyEventData, run_id: str = "run-1") -> list[str]:
        """Submit, expect admission, and return the names of the events written."""
        decision = self.submit(self.event(data, run_id))
        assert not isinstance(decision, Rejection), decision
        return [type(e.data).__name__ for e in decision]

    def refused(self, data: AnyEventData, run_id: str = "run-1") -> Rejection:
        decision = self.submit(self.event(data, run_id))
        assert isinstance(decision, Rejection), decision
        return decision

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @property
    def run(self) -> Run:
        return self.project.runs["run-1"]

    def phase(self, phase_id: str = "P1") -> Phase:
        return self.run.phase(phase_id)

    def open(self, phase_id: str | None = None, run_id: str = "run-1") -> OpenRequest:
        """The one request that a phase waits for."""
        request = self.project.runs[run_id].waiting(phase_id)
        assert request is not None, "nothing is open"
        return request

    def names(self) -> list[str]:
        return [type(e.data).__name__ for e in self.history]

    def written(self, event_type: type, run_id: str = "run-1") -> list[Any]:
        """The data of every event of a type in a run's history."""
        return [e.data for e in self.history if e.run_id == run_id and isinstance(e.data, event_type)]

    def last(self, event_type: type, run_id: str = "run-1") -> Any:
        return self.written(event_type, run_id)[-1]

    def asked(self, phase_id: str = "P1", run_id: str = "run-1") -> Any:
        """The data of the request that a phase waits for now."""
        request_id = self.open(phase_id, run_id).id
        return next(e.data for e in self.history if e.id == request_id)

    def oversized(self) -> list[str]:
        """The events, other than plans, that take more than an event may, with their bytes."""
        written = [e for e in self.history if not isinstance(e.data, RunRequested)]
        name = self.project.project_id
        sizes = [(e.data, len(write_history(e, name, LARGEST_COUNT, "f" * 64))) for e in written]
        return [f"{type(data).__name__}: {size}" for data, size in sizes if size > EVENT_LIMIT_BYTES]

    # ---- what people and workers say

    def started(
        self,
        phases: list[dict[str, Any]] | None = None,
        configuration: Configuration | None = None,
        **changes: Any,
    ) -> "Scenario":
        """Given a run that is accepted."""
        request = plan(phases, **changes)
        run_id = request.run_id or "run-1"
        self.say(request, run_id)
        self.prepared(run_id, configuration)
        return self

    def prepared(self, run_id: str = "run-1", configuration: Configuration | None = None) -> list[str]:
        return self.say(
            RunPrepared(
                request_id=self.open(None, run_id).id,
                base_commit=BASE,
                configuration=configuration or Configuration(),
            ),
            run_id,
        )

    def answer(
        self, event_type: type[EventData], phase_id: str | None = "P1", run_id: str = "run-1", **fields: Any
    ) -> Any:
        """The answer to what a phase waits for, not submitted yet."""
        request = self.open(phase_id, run_id)
        filled = {"request_id": request.id, "phase_id": phase_id, "attempt": request.attempt, **fields}
        return event_type.model_validate(filled)

    def claimed(
        self,
        phase_id: str | None = "P1",
        run_id: str = "run-1",
        *,
        instance: str = "worker-1",
        limit_seconds: float = 60.0,
        replaces: str | None = None,
    ) -> list[str]:
        request_id = self.open(phase_id, run_id).id
        claim = WorkStarted(
            request_id=request_id, instance=instance, limit_seconds=limit_seconds, replaces=replaces
        )
        return self.say(claim, run_id)

    def built(self, phase_id: str = "P1", run_id: str = "run-1", **fields: Any) -> list[str]:
        return self.say(self.answer(BuildSucceeded, phase_id, run_id, **{"patch": PATCH, **fields}), run_id)

    def not_built(
        self, phase_id: str = "P1", failure: FailureClass = FailureClass.EXIT_CODE, **fields: Any
    ) -> list[str]:
        filled = {"failure": failure, "reason": "it broke", **fields}
        return self.say(self.answer(BuildFailed, phase_id, **filled))

    def audited(
        self, recommendation: str, phase_id: str = "P1", *suggested: ArtifactRef, **fields: Any
    ) -> list[str]:
        filled = {"recommendation": recommendation, "confidence": 0.9, "suggested_patches": suggested, **fields}
        return self.say(self.answer(AuditCompleted, phase_id, **filled))

    def not_audited(
        self, phase_id: str = "P1", failure: FailureClass = FailureClass.BAD_ANSWER, **fields: Any
    ) -> list[str]:
        filled = {"failure": failure, "reason": "no verdict", **fields}
        return self.say(self.answer(AuditFailed, phase_id, **filled))

    def applied(self, candidate: int, phase_id: str = "P1", run_id: str = "run-1", **fields: Any) -> list[str]:
        parent = self.asked(phase_id, run_id).parent
        filled = {"candidate": commit(candidate), "tree": commit(candidate + 1000), "parent": parent, **fields}
        return self.say(self.answer(PatchAccepted, phase_id, run_id, **filled), run_id)

    def not_applied(self, failure: FailureClass, phase_id: str = "P1", **fields: Any) -> list[str]:
        filled = {"failure": failure, "reason": "refused", **fields}
        return self.say(self.answer(PatchRejected, phase_id, **filled))

    def green(self, phase_id: str = "P1", run_id: str = "run-1", **fields: Any) -> list[str]:
        asked = self.asked(phase_id, run_id)
        passed = [{"name": check.name, "outcome": "passed"} for check in asked.checks]
        filled = {"candidate": asked.candidate, "tree": asked.tree, "checks": passed, **fields}
        return self.say(self.answer(ChecksPassed, phase_id, run_id, **filled), run_id)

    def red(self, phase_id: str = "P1", **fields: Any) -> list[str]:
        candidate = self.asked(phase_id).candidate
        filled = {"candidate": candidate, "failure": FailureClass.RED_CHECKS, "reason": "tests", **fields}
        return self.say(self.answer(ChecksFailed, phase_id, **filled))

    def landed(self, phase_id: str = "P1", run_id: str = "run-1") -> list[str]:
        asked = self.asked(phase_id, run_id)
        filled = {"commit": asked.candidate, "tag": asked.tag, "unchecked": asked.unchecked}
        return self.say(self.answer(SnapshotCreated, phase_id, run_id, **filled), run_id)

    def not_landed(self, failure: FailureClass, phase_id: str = "P1", head: str | None = None) -> list[str]:
        filled: dict[str, Any] = {"failure": failure, "reason": "the branch moved", "head": head}
        return self.say(self.answer(IntegrationFailed, phase_id, **filled))

    def completed(self, phase_id: str = "P1", candidate: int = 1, run_id: str = "run-1") -> list[str]:
        """From an open build request to the snapshot, without an audit."""
        self.built(phase_id, run_id)
        self.applied(candidate, phase_id, run_id)
        if isinstance(self.asked(phase_id, run_id), ChecksRequested):
            self.green(phase_id, run_id)
        return self.landed(phase_id, run_id)

    def cancelled(self, run_id: str = "run-1", reason: str = "") -> list[str]:
        return self.say(RunCancelRequested(reason=reason), run_id)

    # ---- time

    def deadline(self, kind: DeadlineKind, run_id: str = "run-1") -> Deadline:
        return next(d for d in deadlines(self.project.runs[run_id]) if d.kind is kind)

    def passed(self, kind: DeadlineKind, run_id: str = "run-1") -> list[str]:
        """The deadline of that kind comes, and the supervisor says so."""
        deadline = self.deadline(kind, run_id)
        self.now = max(self.now, deadline.due_at)
        return self.say(DeadlinePassed(kind=kind, request_id=deadline.request_id, due_at=deadline.due_at), run_id)

    # ---- then

    def ended_as(self, state: RunState, run_id: str = "run-1") -> RunCompleted | RunFailed:
        """The run has ended so; its terminal event."""
        assert run_id in self.project.ended, f"the run goes on: {self.names()[-8:]}"
        terminal: RunCompleted | RunFailed = self.last(
            RunCompleted if state is RunState.DONE_SUCCESS else RunFailed, run_id
        )
        assert terminal.state is state, terminal
        assert self.project.ended[run_id].state is state
        return terminal
