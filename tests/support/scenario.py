"""Given / when / then for the decider: a project driven by hand through its events."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from events.catalogue import AnyEventData
from events.decide import Context, decide
from events.decide.verdicts import Rejection
from events.event import Event
from events.evolve import evolve
from events.families.base import ArtifactRef
from events.families.run import RunRequested
from events.state import OpenRequest, Project, Run

START = datetime(2026, 1, 1, tzinfo=UTC)
BASE = "b" * 40
PATCH = ArtifactRef(digest="sha256:" + "a" * 64, size_bytes=10)
CHECKS = {"normal": [{"name": "tests", "argv": ["true"]}], "strict": [{"name": "all", "argv": ["true"]}]}


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
        if isinstance(decision, list):
            for one in decision:
                self.project = evolve(self.project, one)
            self.history.extend(decision)
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

    def open(self, phase_id: str | None = None, run_id: str = "run-1") -> OpenRequest:
        """The one request that a phase waits for."""
        request = self.project.runs[run_id].waiting(phase_id)
        assert request is not None, "nothing is open"
        return request

    def names(self) -> list[str]:
        return [type(e.data).__name__ for e in self.history]
