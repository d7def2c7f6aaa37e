"""All that the files of a run are written from."""

from collections.abc import Sequence
from dataclasses import dataclass

from asyncpg.transaction import Transaction

from projections.attempts import AttemptRow
from projections.database import Connection
from projections.phases import PhaseRow
from projections.queries.runs import RunView, find_run, list_attempts, view_of
from projections.queries.timeline import list_events
from projections.timeline import TimelineRow

_PAGE = 1000


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
        return self.view.run.state.startswith("DONE_FAILED")


def one_moment(connection: Connection) -> Transaction:
    """A transaction in which all tables are seen as of one moment."""
    return connection.transaction(isolation="repeatable_read", readonly=True)


async def read_story(connection: Connection, project: str, run_id: str) -> Story:
    """The run as of the caller's moment. Raises RunNotFound."""
    view = await view_of(connection, await find_run(connection, run_id, project))
    story = Story(view, await list_attempts(connection, project, run_id))
    return Story(view, story.attempts, await _events(connection, view)) if story.has_failed else story


async def _events(connection: Connection, view: RunView) -> list[TimelineRow]:
    events: list[TimelineRow] = []
    sequence: int | None = 0
    while sequence is not None:
        page = await list_events(
            connection, view.run.project, view.run.run_id, from_sequence=sequence, limit=_PAGE
        )
        events.extend(page.events)
        sequence = page.next_sequence
    return events
