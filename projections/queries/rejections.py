"""Refused records: the newest first, by pages, and one with its raw bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from projections.database import Connection
from projections.queries.reading import rows
from projections.rejections import REJECTIONS, RejectionRow


@dataclass(frozen=True, slots=True)
class RejectionKey:
    """Behind which refused record a page begins."""

    rejected_at: datetime
    partition: int
    log_offset: int


@dataclass(frozen=True, slots=True)
class RejectionPage:
    """Refused records, the newest first, and where the next page begins; None on the last one."""

    rejections: Sequence[RejectionRow]
    next: RejectionKey | None


class RejectionNotFound(Exception):
    """There is no refused record at that place; it may have expired."""


_PAGE = """
WHERE ($1::text IS NULL OR project = $1) AND ($2::text IS NULL OR run_id = $2)
  AND ($3::text IS NULL OR reason = $3)
  AND ($4::timestamptz IS NULL OR (rejected_at, -partition, log_offset) < ($4, -$5::int, $6::bigint))
ORDER BY rejected_at DESC, partition, log_offset DESC LIMIT $7
"""

_ONE = "WHERE partition = $1 AND log_offset = $2"


async def list_rejections(
    connection: Connection,
    *,
    project: str | None = None,
    run_id: str | None = None,
    reason: str | None = None,
    behind: RejectionKey | None = None,
    limit: int = 50,
) -> RejectionPage:
    """A page of refused records."""
    place = (behind.rejected_at, behind.partition, behind.log_offset) if behind else (None, None, None)
    found = await rows(connection, REJECTIONS, _PAGE, project, run_id, reason, *place, limit + 1)
    page = found[:limit]
    return RejectionPage(page, _key(page[-1]) if len(found) > limit and page else None)


def _key(row: RejectionRow) -> RejectionKey:
    return RejectionKey(row.rejected_at, row.partition, row.log_offset)


async def read_rejection(connection: Connection, partition: int, log_offset: int) -> RejectionRow:
    """One refused record. Raises RejectionNotFound."""
    found = await rows(connection, REJECTIONS, _ONE, partition, log_offset)
    if not found:
        raise RejectionNotFound(f"no refused record at partition {partition}, offset {log_offset}")
    return found[0]
