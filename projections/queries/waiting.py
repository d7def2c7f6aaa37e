"""What waits, and how long the oldest has: runs for their turn, requests for a worker."""

from collections.abc import Mapping
from dataclasses import dataclass

from events.plan import EXTERNAL
from events.state import RequestKind
from projections.attempts import ATTEMPTS
from projections.database import Connection
from projections.runs import RUNS

RUN = "run"
"""The name under which runs are counted; requests are counted under that of their kind."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many wait, and for how many seconds the oldest has, by the database's clock; 0 where none does."""

    count: int = 0
    oldest_seconds: float = 0.0


# What an external agent has to do is no worker's to take.
_WAITING = f"""
SELECT name, count(*) AS count,
       greatest(0, extract(epoch FROM clock_timestamp() - min(since)))::double precision AS oldest_seconds
FROM (
    SELECT kind AS name, requested_at AS since FROM {ATTEMPTS.table}
    WHERE outcome = 'open' AND claims = 0 AND agent IS DISTINCT FROM $2::text
    UNION ALL
    SELECT $1::text, created_at FROM {RUNS.table} WHERE started_at IS NULL AND completed_at IS NULL
) AS waiting
GROUP BY name
"""


async def read_waiting(connection: Connection) -> Mapping[str, Waiting]:
    """By name; every name is there."""
    found = {name: Waiting() for name in (RUN, *RequestKind)}
    for row in await connection.fetch(_WAITING, RUN, EXTERNAL):
        found[row["name"]] = Waiting(row["count"], row["oldest_seconds"])
    return found
