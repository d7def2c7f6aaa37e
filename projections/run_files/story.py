"""All that the files of a run are written from."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from msgspec.json import Decoder

from projections.attempts import ATTEMPTS, AttemptRow
from projections.database import Connection
from projections.phases import PHASES, PhaseRow
from projections.queries.reading import selection
from projections.queries.runs import PHASES_OF_A_RUN, TIERS_OF_A_RUN, RunNotFound, RunView
from projections.run_files.changes import reached
from projections.runs import RUNS, RunRow
from projections.tiers import TIERS, TierRow
from projections.timeline import TIMELINE, TimelineRow

ROWS_AT_A_STRETCH = 400
"""Some two milliseconds; others on the loop come to their turn between."""

_FAILED = "DONE_FAILED"

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Story:
    """A run, everything that was asked of workers, and for a failed run all its events."""

    view: RunView
    attempts: Sequence[AttemptRow]
    events: Sequence[TimelineRow] = ()

    def attempts_by_phase(self) -> Mapping[str | None, Sequence[AttemptRow]]:
        """What was asked of workers, by the phase that it was asked for."""
        found: dict[str | None, list[AttemptRow]] = defaultdict(list)
        for attempt in self.attempts:
            found[attempt.phase_id].append(attempt)
        return found

    @property
    def has_failed(self) -> bool:
        """The run ended, and not well: somebody will look for the reason."""
        return self.view.run.state.startswith(_FAILED)


def _rows(statement: str) -> str:
    """The rows of a statement, in its order, each as JSON."""
    return f"ARRAY(SELECT row_to_json(one)::text FROM ({statement}) AS one)"


_OF_THE_RUN = "WHERE project = $1 AND run_id = $2"
_EVENTS = f"""{selection(TIMELINE)} {_OF_THE_RUN} AND (SELECT starts_with(state, '{_FAILED}') FROM run)
ORDER BY sequence"""

# One statement sees one moment. As JSON the rows need not be taken apart twice, by the driver and for the values
# within them.
_STORY = f"""
WITH run AS MATERIALIZED ({selection(RUNS)} {_OF_THE_RUN})
SELECT row_to_json(run)::text AS run,
    {_rows(f"{selection(TIERS)} {TIERS_OF_A_RUN}")} AS tiers,
    {_rows(f"{selection(PHASES)} {PHASES_OF_A_RUN}")} AS phases,
    {_rows(f"{selection(ATTEMPTS)} {_OF_THE_RUN} ORDER BY sequence")} AS attempts,
    {_rows(_EVENTS)} AS events,
    {reached("run.partition")} AS reached
FROM run
"""

_RUN: Decoder[RunRow] = Decoder(RunRow)
_TIER: Decoder[TierRow] = Decoder(TierRow)
_PHASE: Decoder[PhaseRow] = Decoder(PhaseRow)
_ATTEMPT: Decoder[AttemptRow] = Decoder(AttemptRow)
_EVENT: Decoder[TimelineRow] = Decoder(TimelineRow)


async def read_story(connection: Connection, project: str, run_id: str) -> tuple[Story, int]:
    """A run, and what all the tables had passed at that moment. Raises RunNotFound."""
    found: Any = await connection.fetchrow(_STORY, project, run_id)
    if found is None:
        raise RunNotFound(f"Run {run_id} not found")
    tiers, phases = await rows_of(_TIER.decode, found["tiers"]), await rows_of(_PHASE.decode, found["phases"])
    attempts, events = (
        await rows_of(_ATTEMPT.decode, found["attempts"]),
        await rows_of(_EVENT.decode, found["events"]),
    )
    return Story(RunView(_RUN.decode(found["run"]), tiers, phases), attempts, events), found["reached"]


async def rows_of(read: Callable[[str], Row], texts: Sequence[str]) -> list[Row]:
    """The rows that the texts hold; others on the loop come to their turn, however many there are."""
    rows: list[Row] = []
    for start in range(0, len(texts), ROWS_AT_A_STRETCH):
        if start:
            await asyncio.sleep(0)
        rows.extend(map(read, texts[start : start + ROWS_AT_A_STRETCH]))
    return rows
