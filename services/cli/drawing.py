"""A run drawn for a terminal: tiers and phases with state, attempt, time, tokens, and what goes on."""

from datetime import datetime
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from events.states import PhaseState, RunState
from projections.phases import PhaseRow
from projections.runs import RunRow
from projections.tiers import TierRow
from services.cli.output import safe
from services.cli.run_view import RunView, Work
from services.cli.telling import clock

_MARKS = {
    PhaseState.QUEUED: ("·", "dim"),
    PhaseState.EXECUTING: ("▸", "cyan"),
    PhaseState.GATE: ("▸", "magenta"),
    PhaseState.CI_RUNNING: ("▸", "blue"),
    PhaseState.COMPLETE: ("✓", "green"),
    PhaseState.FAILED: ("✗", "red"),
    PhaseState.SKIPPED: ("-", "dim"),
}

_COLUMNS: tuple[tuple[Literal["left", "right"], int], ...] = (
    ("left", 10),
    ("left", 10),
    ("right", 3),
    ("right", 5),
    ("right", 5),
)
"""Phase, state, attempt, time, tokens: wide enough not to jump about as their contents change."""


def draw(view: RunView, now: datetime) -> RenderableType:
    """The run as it stands at `now`."""
    if view.run is None:
        return Text("waiting for the run to be taken up …", style="dim")
    return Group(_headline(view.run, view.phases, now), _table(view, now))


def _headline(run: RunRow, phases: tuple[PhaseRow, ...], now: datetime) -> Text:
    complete = sum(phase.state == PhaseState.COMPLETE for phase in phases)
    style = _run_style(RunState(run.state))
    return Text.assemble(
        (run.run_id, "bold"),
        f" in {run.project}  ",
        (run.state, style),
        f"  {_elapsed(run.created_at, run.completed_at, now)}  {complete} of {len(phases)} phases  {_budget(run)}",
    )


def _run_style(state: RunState) -> str:
    if state is RunState.DONE_SUCCESS:
        return "bold green"
    return "bold red" if state.is_terminal else "bold cyan"


def _budget(run: RunRow) -> str:
    cap = f" of {thousands(run.token_cap)}" if run.token_cap is not None else ""
    return f"{counted(run.tokens_used, run.tokens_lower_bound)}{cap} tokens"


def _table(view: RunView, now: datetime) -> Table:
    drawn = Table.grid(padding=(0, 2, 0, 0))
    for justify, least in _COLUMNS:
        drawn.add_column(justify=justify, min_width=least, no_wrap=True)
    drawn.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for tier in view.tiers:
        drawn.add_row(_tier(tier))
        for phase in view.phases:
            if phase.tier_id == tier.tier_id:
                drawn.add_row(*_phase(view, phase, now))
    return drawn


def _tier(tier: TierRow) -> Text:
    unclean = "" if tier.cleanliness == "clean" else f" ({tier.cleanliness})"
    return Text.assemble((safe(f"{tier.tier_id} {tier.name}"), "bold"), unclean)


def _phase(view: RunView, phase: PhaseRow, now: datetime) -> tuple[Text, ...]:
    state = PhaseState(phase.state or PhaseState.QUEUED)
    mark, style = _MARKS[state]
    builds, most = view.attempts_at(phase), (phase.strategy or {}).get("builder_attempts", "?")
    return (
        Text(f" {mark} {phase.phase_id}", style=style),
        Text(state, style=style),
        Text(f"{builds}/{most}" if builds else ""),
        Text(_elapsed(phase.started_at, phase.completed_at, now) if phase.started_at else ""),
        Text(_phase_tokens(phase)),
        Text(safe(_words(phase, view.work.get(phase.phase_id) or Work())), style="dim"),
    )


def _phase_tokens(phase: PhaseRow) -> str:
    is_known = phase.tokens_used or phase.tokens_lower_bound
    return counted(phase.tokens_used, phase.tokens_lower_bound) if is_known else ""


def _words(phase: PhaseRow, work: Work) -> str:
    if phase.reason:
        return phase.reason
    if phase.state == PhaseState.COMPLETE:
        return f"{phase.name} ({phase.commit[:10]})" if phase.commit else phase.name
    if work.doing and work.last_line:
        return f"{work.doing}: {work.last_line}"
    return work.last_line or work.doing or phase.name


def _elapsed(began: datetime | None, ended: datetime | None, now: datetime) -> str:
    return clock(((ended or now) - began).total_seconds()) if began else ""


def counted(tokens: int, lower_bound: bool) -> str:
    """A count of tokens, which an agent that reported none makes a lower bound."""
    return f"{'at least ' if lower_bound else ''}{thousands(tokens)}"


def thousands(count: int) -> str:
    """A count of tokens, short where it is large."""
    if count < 10_000:
        return f"{count:,}"
    return f"{count / 1000:,.0f}k" if count < 10_000_000 else f"{count / 1_000_000:,.0f}M"
