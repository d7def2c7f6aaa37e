"""The events of a run, by pages; the exact bytes are in the log, at the partition and offset of each row."""

from collections.abc import Sequence
from dataclasses import dataclass

from projections.database import Connection
from projections.queries.reading import rows
from projections.timeline import TIMELINE, TimelineRow


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order, and the sequence from which the next page begins; None on the last one so far."""

    events: Sequence[TimelineRow]
    next_sequence: int | None


_PAGE = """
WHERE project = $1 AND run_id = $2 AND sequence >= $3
  AND ($4::text IS NULL OR phase_id = $4) AND ($5::text[] IS NULL OR split_part(type, '.', 1) = ANY ($5))
ORDER BY sequence LIMIT $6
"""

# By sequence: that is what the primary key is sorted by.
_LAST = f"""
SELECT log_offset FROM {TIMELINE.table} WHERE project = $1 AND run_id = $2 ORDER BY sequence DESC LIMIT 1
"""


async def list_events(
    connection: Connection,
    project: str,
    run_id: str,
    *,
    from_sequence: int = 0,
    phase_id: str | None = None,
    names: Sequence[str] | None = None,
    limit: int = 100,
) -> EventPage:
    """A page of a run's events, of a phase or of some types by name, e.g. `BuildSucceeded`."""
    chosen = list(names) if names is not None else None
    found = await rows(connection, TIMELINE, _PAGE, project, run_id, from_sequence, phase_id, chosen, limit + 1)
    more = found[limit].sequence if len(found) > limit else None
    return EventPage(found[:limit], more)


async def last_offset(connection: Connection, project: str, run_id: str) -> int | None:
    """Where in its partition the last of a run's events lies that is known so far; None where none is."""
    found: int | None = await connection.fetchval(_LAST, project, run_id)
    return found
