"""Refused records: the newest first, by pages, and one with its raw bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from projections.database import Connection
from projections.queries.reading import rows
from projections.rejections import REJECTIONS, RejectionRow


@dataclass(frozen=True, slots=True)
class RejectionPage:
    """Refused records, the newest first, and whether there are more."""

    rejections: Sequence[RejectionRow]
    more: bool


class RejectionNotFound(Exception):
    """There is no refused record at that place; it may have expired."""


_PAGE = """
WHERE ($1::text IS NULL OR project = $1) AND ($2::text IS NULL OR run_id = $2)
  AND ($3::text IS NULL OR reason = $3)
  AND ($4::int IS NULL
       OR (rejected_at, -partition, log_offset)
          < (SELECT (r.rejected_at, -r.partition, r.log_offset) FROM rejections_v1 r
             WHERE r.partition = $4 AND r.log_offset = $5::bigint))
ORDER BY rejected_at DESC, partition, log_offset DESC LIMIT $6
"""

_ONE = "WHERE partition = $1 AND log_offset = $2"


async def list_rejections(
    connection: Connection,
    *,
    project: str | None = None,
    run_id: str | None = None,
    reason: str | None = None,
    behind: RejectionRow | None = None,
    limit: int = 50,
) -> RejectionPage:
    """A page of refused records."""
    place = (behind.partition, behind.log_offset) if behind else (None, None)
    found = await rows(connection, REJECTIONS, _PAGE, project, run_id, reason, *place, limit + 1)
    return RejectionPage(found[:limit], len(found) > limit)


async def read_rejection(connection: Connection, partition: int, log_offset: int) -> RejectionRow:
    """One refused record. Raises RejectionNotFound."""
    found = await rows(connection, REJECTIONS, _ONE, partition, log_offset)
    if not found:
        raise RejectionNotFound(f"no refused record at partition {partition}, offset {log_offset}")
    return found[0]
