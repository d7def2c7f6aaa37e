"""Runs: lists by pages, and one run with everything in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import asyncpg
from msgspec.json import Decoder

from events.states import RunState, TierState
from projections.attempts import ATTEMPTS, OPEN, AttemptRow
from projections.database import Connection
from projections.phases import PHASES, PhaseRow, builds_reported
from projections.queries.reading import Conditions, as_json, rows, rows_of, selection
from projections.runs import RUNS, RunRow
from projections.tables import row_from
from projections.tiers import TIERS, TierRow
from projections.timeline import TIMELINE


@dataclass(frozen=True, slots=True)
class PageKey:
    """Behind which run a page begins: the one that was last on the page before."""

    created_at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs, the newest first, and where the next page begins; None on the last one."""

    runs: Sequence[RunRow]
    next: PageKey | None


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with its tiers and phases in the order in which they are worked; none before it is accepted.

    `event_count` events of it are known, and `quarantine` says which record did not extend them: then nothing more
    is done for it.
    """

    run: RunRow
    tiers: Sequence[TierRow]
    phases: Sequence[PhaseRow]
    event_count: int = 0
    quarantine: str | None = None

    def phases_of(self, tier_id: str) -> Sequence[PhaseRow]:
        """The phases of a tier."""
        return [phase for phase in self.phases if phase.tier_id == tier_id]

    def state_of(self, tier: TierRow) -> str | None:
        """The tier's state. One without phases has no work that could be complete before its run ends."""
        if self.run.completed_at is None and not self.phases_of(tier.tier_id):
            return TierState.PENDING
        return tier.state

    def attempts_at(self, phase: PhaseRow) -> int:
        """The phase's builds, without one that an external builder is asked for: it counts when it is reported."""
        return builds_reported(phase, self.run.builder)


class RunNotFound(Exception):
    """There is no such run."""


class RunAmbiguous(Exception):
    """Several projects have a run of that id."""

    def __init__(self, run_id: str, projects: Sequence[str]) -> None:
        super().__init__(f"run {run_id!r} is in several projects: {', '.join(projects)}")
        self.run_id = run_id
        self.projects = tuple(projects)


_NEWEST_FIRST = "ORDER BY created_at DESC, id DESC"

_ACCEPTED = "WHERE project = run.project AND run_id = run.run_id AND state IS NOT NULL"

VIEW = f"""row_to_json(run)::text AS run,
    {as_json(f"{selection(TIERS)} {_ACCEPTED} ORDER BY tier_index, tier_id")} AS tiers,
    {as_json(f"{selection(PHASES)} {_ACCEPTED} ORDER BY position")} AS phases"""
"""What `view_from` reads, of a row `run` of the runs."""

# Both as of the timeline, which knows where each record lies. An older version's head may have been left behind.
_HISTORY = f"""
    (SELECT max(sequence) + 1 FROM {TIMELINE.table} AS event
    WHERE event.project = run.project AND event.run_id = run.run_id) AS event_count,
    (SELECT quarantine FROM projection_heads AS head
    WHERE projection = '{TIMELINE.name}' AND version = {TIMELINE.version}
        AND head.project = run.project AND head.run_id = run.run_id) AS quarantine"""

# Of several namesakes nothing is read but their projects.
_RUN = f"""
WITH namesakes AS MATERIALIZED ({selection(RUNS)} WHERE run_id = $1 AND ($2::text IS NULL OR project = $2)),
    run AS MATERIALIZED (SELECT * FROM namesakes WHERE (SELECT count(*) FROM namesakes) = 1)
SELECT namesakes.project, view.*
FROM namesakes LEFT JOIN LATERAL (SELECT {VIEW}, {_HISTORY} FROM run) AS view ON true
ORDER BY namesakes.project
"""

_ATTEMPTS = """
WHERE project = $1 AND run_id = $2 AND ($3::text IS NULL OR phase_id = $3) AND (NOT $4 OR outcome = $5)
ORDER BY sequence
"""


async def list_runs(
    connection: Connection,
    *,
    project: str | None = None,
    states: Sequence[str] | None = None,
    behind: PageKey | None = None,
    limit: int = 50,
) -> RunPage:
    """A page of runs. What is added meanwhile comes on no page behind the first."""
    asked = Conditions()
    if project is not None:
        asked.add("project = {}", project)
    if project is not None and states is not None:
        asked.add("state = ANY ({})", list(states))
    if behind is not None:
        asked.add("(created_at, id) < ({}, {})", behind.created_at, behind.id)
    found = await _newest(connection, asked, states if project is None else None, limit + 1)
    page = found[:limit]
    more = PageKey(page[-1].created_at, page[-1].id) if len(found) > limit and page else None
    return RunPage(page, more)


async def _newest(
    connection: Connection, asked: Conditions, states: Sequence[str] | None, limit: int
) -> list[RunRow]:
    most = asked.value(limit)
    if states is None:
        return await rows(connection, RUNS, f"{asked.where} {_NEWEST_FIRST} LIMIT {most}", *asked.values)
    # Each state stands in the statement itself, and its newest runs are sought along the index that suits it: few
    # runs are in most states, nearly all in one, and a plan for any state would look for the few among all.
    wheres = [replace(asked, texts=[*asked.texts, f"state = '{state}'"]).where for state in _known(states)]
    pages = [f"({selection(RUNS)} {where} {_NEWEST_FIRST} LIMIT {most})" for where in wheres]
    statement = f"SELECT * FROM ({' UNION ALL '.join(pages)}) AS runs {_NEWEST_FIRST} LIMIT {most}"
    found = await connection.fetch(statement, *asked.values) if pages else []
    return [row_from(RUNS, record) for record in found]


def _known(states: Sequence[str]) -> list[str]:
    """Those that there are, each once: runs are in no others."""
    return [state.value for state in RunState if state.value in states]


async def count_runs(
    connection: Connection, *, project: str | None = None, states: Sequence[str] | None = None
) -> int:
    """How many runs there are, of a project, in some states."""
    asked = Conditions()
    if project is not None:
        asked.add("project = {}", project)
    if states is not None:
        asked.add("state = ANY ({})", list(states))
    count: int = await connection.fetchval(f"SELECT count(*) FROM {RUNS.table} {asked.where}", *asked.values)
    return count


async def read_run(connection: Connection, run_id: str, project: str | None = None) -> RunView:
    """The run of that id in any project, or in the one named, with its tiers and phases, as of one moment.

    Raises RunNotFound, RunAmbiguous.
    """
    found = await connection.fetch(_RUN, run_id, project)
    if not found:
        raise RunNotFound(f"Run {run_id} not found")
    if len(found) > 1:
        raise RunAmbiguous(run_id, [one["project"] for one in found])
    view = await view_from(found[0])
    return replace(view, event_count=found[0]["event_count"] or 0, quarantine=found[0]["quarantine"])


_run_row = Decoder(RunRow).decode
_tier_row = Decoder(TierRow).decode
_phase_row = Decoder(PhaseRow).decode


async def view_from(found: asyncpg.Record) -> RunView:
    """The run of a statement that selects `VIEW`."""
    tiers, phases = await rows_of(_tier_row, found["tiers"]), await rows_of(_phase_row, found["phases"])
    return RunView(_run_row(found["run"]), tiers, phases)


async def list_attempts(
    connection: Connection, project: str, run_id: str, *, phase_id: str | None = None, only_open: bool = False
) -> list[AttemptRow]:
    """The requests of a run (of one phase; only those without an answer), oldest first."""
    return await rows(connection, ATTEMPTS, _ATTEMPTS, project, run_id, phase_id, only_open, OPEN)
