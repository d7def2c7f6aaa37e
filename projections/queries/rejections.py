"""Refused records: the newest first, by pages, and one with its raw bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from projections.database import Connection
from projections.queries.reading import Conditions, rows
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


_NEWEST_FIRST = "ORDER BY rejected_at DESC, partition, log_offset DESC"

# The first half is for the index, whose order goes both ways.
_BEHIND = "rejected_at <= {} AND (rejected_at, -partition, log_offset) < ({}, -{}::int, {}::bigint)"

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
    asked = Conditions()
    for column, value in (("project", project), ("run_id", run_id), ("reason", reason)):
        if value is not None:
            asked.add(f"{column} = {{}}", value)
    if behind is not None:
        asked.add(_BEHIND, behind.rejected_at, behind.rejected_at, behind.partition, behind.log_offset)
    ending = f"{asked.where} {_NEWEST_FIRST} LIMIT {asked.value(limit + 1)}"
    found = await rows(connection, REJECTIONS, ending, *asked.values)
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
