"""All that the files of a run are written from."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.json import Decoder

from projections.attempts import ATTEMPTS, AttemptRow
from projections.database import Connection
from projections.queries.reading import as_json, rows_of, selection
from projections.queries.runs import VIEW, RunNotFound, RunView, view_from
from projections.run_files.changes import reached
from projections.runs import RUNS
from projections.timeline import TIMELINE, TimelineRow

_FAILED = "DONE_FAILED"


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


_OF_THE_RUN = "WHERE project = $1 AND run_id = $2"
_EVENTS = f"""{selection(TIMELINE)} {_OF_THE_RUN} AND (SELECT starts_with(state, '{_FAILED}') FROM run)
ORDER BY sequence"""

# One statement sees one moment.
_STORY = f"""
WITH run AS MATERIALIZED ({selection(RUNS)} {_OF_THE_RUN})
SELECT {VIEW},
    {as_json(f"{selection(ATTEMPTS)} {_OF_THE_RUN} ORDER BY sequence")} AS attempts,
    {as_json(_EVENTS)} AS events,
    {reached("run.partition")} AS reached
FROM run
"""

_ATTEMPT: Decoder[AttemptRow] = Decoder(AttemptRow)
_EVENT: Decoder[TimelineRow] = Decoder(TimelineRow)


async def read_story(connection: Connection, project: str, run_id: str) -> tuple[Story, int]:
    """A run, and what all the tables had passed at that moment. Raises RunNotFound."""
    found: Any = await connection.fetchrow(_STORY, project, run_id)
    if found is None:
        raise RunNotFound(f"Run {run_id} not found")
    attempts = await rows_of(_ATTEMPT.decode, found["attempts"])
    events = await rows_of(_EVENT.decode, found["events"])
    return Story(await view_from(found), attempts, events), found["reached"]
