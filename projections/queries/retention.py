"""What is still needed of the things that events refer to: by runs that go on, or that ended lately."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from events.catalogue import Topic
from projections.attempts import ATTEMPTS
from projections.checkpoints import RunKey
from projections.database import Connection
from projections.phases import PHASES
from projections.projection import Projection
from projections.runs import RUNS

LIMIT_SECONDS = 600.0
"""Nobody waits for a collection, and its search goes through whole tables; but a database may never answer."""


class TablesBehind(Exception):
    """The tables do not hold all of the history yet"""


@dataclass(frozen=True, slots=True)
class OpenRuns:
    """The runs that go on: their ids, in whatever project, and the commits that they start from and stand on."""

    run_ids: frozenset[str] = frozenset()
    commits: frozenset[str] = frozenset()


_OPEN = f"SELECT run_id, base_commit, head_commit FROM {RUNS.table} WHERE completed_at IS NULL"

# A digest is looked for in the text of whole columns: what these hold may change, and none may be overlooked.
_NEEDED = f"""
WITH kept AS (
    SELECT project, run_id FROM {RUNS.table}
    WHERE completed_at IS NULL OR completed_at >= now() - make_interval(secs => $1)
)
SELECT DISTINCT (regexp_matches(told, 'sha256:[0-9a-f]{{64}}', 'g'))[1] AS digest
FROM (
    SELECT concat_ws(' ', patch, log, details) AS told FROM kept JOIN {ATTEMPTS.table} USING (project, run_id)
    UNION ALL
    SELECT patches::text FROM kept JOIN {PHASES.table} USING (project, run_id)
) AS rows
"""

_ENDED = f"""
SELECT project, run_id FROM unnest($1::text[], $2::text[]) AS asked (project, run_id)
    JOIN {RUNS.table} USING (project, run_id)
WHERE completed_at IS NOT NULL
"""

_STANDING = """
SELECT partition, count(*) AS tables, min(next_offset) AS next_offset FROM projection_checkpoints
WHERE topic = $1 AND (projection, version) IN (SELECT * FROM unnest($2::text[], $3::int[]))
GROUP BY partition
"""

_READ: tuple[Projection[Any], ...] = (RUNS, ATTEMPTS, PHASES)


async def open_runs(connection: Connection) -> OpenRuns:
    """The runs that go on, as far as the tables know."""
    rows = await connection.fetch(_OPEN)
    commits = {commit for row in rows for commit in (row["base_commit"], row["head_commit"]) if commit}
    return OpenRuns(frozenset(row["run_id"] for row in rows), frozenset(commits))


async def needed_digests(connection: Connection, kept_seconds: float) -> set[str]:
    """The artifacts of all runs that go on, or ended no longer ago than this by the database's clock."""
    return {row["digest"] for row in await connection.fetch(_NEEDED, kept_seconds)}


async def ended_runs(connection: Connection, runs: Iterable[RunKey]) -> set[RunKey]:
    """Those of the runs that have ended; of a run that is not in the tables nothing is known."""
    asked = sorted(set(runs))
    rows = await connection.fetch(_ENDED, [project for project, _ in asked], [run_id for _, run_id in asked])
    return {(row["project"], row["run_id"]) for row in rows}


async def check_abreast(connection: Connection, ends: Mapping[int, int]) -> None:
    """Raise TablesBehind where the tables have not folded the history up to these ends yet."""
    names = [projection.name for projection in _READ], [projection.version for projection in _READ]
    rows = await connection.fetch(_STANDING, Topic.EVENTS, *names)
    standing = {row["partition"]: row["next_offset"] for row in rows if row["tables"] == len(_READ)}
    missing = sum(max(0, end - standing.get(partition, 0)) for partition, end in ends.items())
    if missing:
        raise TablesBehind(f"{TablesBehind.__doc__}: {missing} records are to be folded")
