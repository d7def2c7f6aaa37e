"""Which runs have changed since their files were written."""

from collections.abc import Sequence
from dataclasses import dataclass

from events.catalogue import Topic
from projections.attempts import ATTEMPTS
from projections.catalogue import RUN_FILES
from projections.database import Connection
from projections.phases import PHASES
from projections.runs import RUNS
from projections.tiers import TIERS
from projections.timeline import TIMELINE

_NEEDED = (RUNS, TIERS, PHASES, ATTEMPTS, TIMELINE)


@dataclass(frozen=True, slots=True)
class Changed:
    """Runs that changed since an offset, and how far that reaches; `is_all` where there are no more of them."""

    start: int
    end: int
    runs: Sequence[tuple[str, str]]
    is_all: bool


class NotBegun(Exception):
    """The run files have no checkpoint in this partition."""


def reached(partition: str) -> str:
    """An SQL expression for what all the tables have passed that files are made from; `partition` is one too."""
    names = ", ".join(f"('{projection.name}', {projection.version})" for projection in _NEEDED)
    return f"""(
    SELECT CASE count(*) WHEN {len(_NEEDED)} THEN min(next_offset) ELSE 0 END FROM projection_checkpoints
    WHERE topic = '{Topic.EVENTS}' AND partition = {partition} AND (projection, version) IN ({names}))"""


# One statement sees one moment.
_CHANGED = f"""
WITH span AS MATERIALIZED (
    SELECT coalesce($2::bigint, next_offset) AS start, {reached("$1::int")} AS reached
    FROM projection_checkpoints
    WHERE projection = '{RUN_FILES.name}' AND version = {RUN_FILES.version} AND topic = '{Topic.EVENTS}'
        AND partition = $1)
SELECT start, reached, project, run_id, last_offset FROM span LEFT JOIN LATERAL (
    SELECT project, run_id, last_offset FROM {RUNS.table}
    WHERE partition = $1 AND last_offset >= start AND last_offset < reached
    ORDER BY last_offset LIMIT $3::int) AS run ON true
ORDER BY last_offset
"""


async def changed_runs(
    connection: Connection, partition: int, most: int, start: int | None = None
) -> Changed | None:
    """What there is to do from the checkpoint on, or from an offset; None where the files are up to date.

    A run of which some tables know less than the others is left for later: it lies behind the end.
    Raises NotBegun.
    """
    rows = await connection.fetch(_CHANGED, partition, start, most)
    if not rows:
        raise NotBegun(f"partition {partition}")
    if rows[0]["reached"] <= rows[0]["start"]:
        return None
    runs = [(row["project"], row["run_id"]) for row in rows if row["run_id"] is not None]
    is_all = len(runs) < most
    return Changed(rows[0]["start"], rows[0]["reached"] if is_all else rows[-1]["last_offset"] + 1, runs, is_all)
