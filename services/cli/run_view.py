"""A run as somebody who watches sees it, folded from its history by the folds of the read models."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from immutables import Map

from events.catalogue import AnyEventData
from events.codec import HistoryEvent
from events.families.apply import ApplyRequested
from events.families.audit import AuditRequested
from events.families.build import BuildRequested
from events.families.integrate import IntegrationRequested
from events.families.verify import ChecksRequested
from events.families.work import WorkStarted
from projections.phases import PHASES, PhaseRow, builds_reported
from projections.projection import Entry, Projection, RowT
from projections.runs import RUNS, RunRow
from projections.tiers import TIERS, TierRow


@dataclass(frozen=True, slots=True)
class Work:
    """What is going on in a phase, and the last line that its agent wrote."""

    doing: str = ""
    last_line: str = ""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with its tiers and phases, each in its order; empty until its first event."""

    run: RunRow | None = None
    tiers: tuple[TierRow, ...] = ()
    phases: tuple[PhaseRow, ...] = ()
    work: Map[str, Work] = field(default_factory=Map)
    asked: Map[str, str] = field(default_factory=Map)

    @property
    def ended(self) -> bool:
        """The run is in its final state."""
        return self.run is not None and self.run.completed_at is not None

    @property
    def sequence(self) -> int:
        """The number of the last event, -1 before the first."""
        return -1 if self.run is None else self.run.sequence

    def attempts_at(self, phase: PhaseRow) -> int:
        """The phase's builds, as the API counts them."""
        return builds_reported(phase, None if self.run is None else self.run.builder)


def fold(view: RunView, event: HistoryEvent) -> RunView:
    """The view after one more event of the run; one that it has seen changes nothing."""
    if event.sequence <= view.sequence:
        return view
    entry = Entry(event.project, 0, event.sequence, event.sequence, event.event)
    runs = _folded(RUNS, () if view.run is None else (view.run,), entry)
    work, asked = _worked(view, entry)
    return RunView(
        run=runs[0] if runs else None,
        tiers=tuple(sorted(_folded(TIERS, view.tiers, entry), key=lambda tier: tier.tier_index)),
        phases=tuple(sorted(_folded(PHASES, view.phases, entry), key=lambda phase: phase.position)),
        work=work,
        asked=asked,
    )


def with_line(view: RunView, phase_id: str, line: str) -> RunView:
    """The view after an agent of a phase wrote a line."""
    known = view.work.get(phase_id) or Work()
    return replace(view, work=view.work.set(phase_id, replace(known, last_line=line)))


def _folded(projection: Projection[RowT], rows: Iterable[RowT], entry: Entry) -> list[RowT]:
    known = {projection.key_of(row): row for row in rows}
    if type(entry.data) in projection.wanted:
        known |= {projection.key_of(row): row for row in projection.project(known, entry)}
    return list(known.values())


def _worked(view: RunView, entry: Entry) -> tuple[Map[str, Work], Map[str, str]]:
    """What each phase does now, and which phase each claimable request belongs to."""
    data = entry.data
    if isinstance(data, WorkStarted):
        phase_id, doing = view.asked.get(data.request_id), f"{data.agent} is at work" if data.agent else ""
        return (view.work.set(phase_id, Work(doing)) if phase_id and doing else view.work), view.asked
    phase_id = getattr(data, "phase_id", None)
    if phase_id is None:
        return view.work, view.asked
    asked = view.asked.set(entry.event.id, phase_id) if isinstance(data, _REQUESTS) else view.asked
    return view.work.set(phase_id, Work(_doing(data))), asked


_REQUESTS = (BuildRequested, AuditRequested)


def _doing(data: AnyEventData) -> str:
    match data:
        case BuildRequested():
            return "waiting for a builder"
        case AuditRequested():
            return "waiting for an auditor"
        case ApplyRequested():
            return "applying the patch"
        case ChecksRequested():
            return f"running {', '.join(check.name for check in data.checks)}"
        case IntegrationRequested():
            return "moving the branch"
        case _:
            return ""
