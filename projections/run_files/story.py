"""All that the files of a run are written from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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

_FAILED = "DONE_FAILED"


@dataclass(frozen=True, slots=True)
class Story:
    """A run, everything that was asked of workers, and for a failed run all its events."""

    view: RunView
    attempts: Sequence[AttemptRow]
    events: Sequence[TimelineRow] = ()

    def attempts_of(self, phase: PhaseRow) -> Sequence[AttemptRow]:
        """What was asked of workers for a phase."""
        return [attempt for attempt in self.attempts if attempt.phase_id == phase.phase_id]

    @property
    def has_failed(self) -> bool:
        """The run ended, and not well: somebody will look for the reason."""
        return self.view.run.state.startswith(_FAILED)


def _rows(statement: str) -> str:
    """The rows of a statement, in its order, as the text of a JSON array."""
    return f"(SELECT coalesce(json_agg(one), '[]')::text FROM ({statement}) AS one)"


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
_TIERS: Decoder[list[TierRow]] = Decoder(list[TierRow])
_PHASES: Decoder[list[PhaseRow]] = Decoder(list[PhaseRow])
_ATTEMPTS: Decoder[list[AttemptRow]] = Decoder(list[AttemptRow])
_TIMELINE: Decoder[list[TimelineRow]] = Decoder(list[TimelineRow])


async def read_story(connection: Connection, project: str, run_id: str) -> tuple[Story, int]:
    """A run, and what all the tables had passed at that moment. Raises RunNotFound."""
    found: Any = await connection.fetchrow(_STORY, project, run_id)
    if found is None:
        raise RunNotFound(f"Run {run_id} not found")
    view = RunView(_RUN.decode(found["run"]), _TIERS.decode(found["tiers"]), _PHASES.decode(found["phases"]))
    story = Story(view, _ATTEMPTS.decode(found["attempts"]), _TIMELINE.decode(found["events"]))
    return story, found["reached"]
