"""Refused records, as operators see them."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from events.catalogue import Topic
from events.log.port import NewRecord
from projections.queries.rejections import RejectionNotFound, list_rejections, read_rejection
from projections.rejections import RejectionRow
from services.cli.failures import Unsuccessful, WrongUsage
from services.cli.reaching import reached
from services.cli.store import Store, opened_store
from services.settings import Settings

SUBMITTED = (Topic.COMMANDS, Topic.RESULTS)
_PLACE = re.compile(r"(\d{1,6})/(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused record. `place` is partition and offset in the rejections, `text` its bytes as text."""

    place: str
    rejected_at: str
    project: str
    run_id: str | None
    type: str | None
    reason: str
    message: str
    faults: Sequence[Mapping[str, Any]]
    source_place: str | None
    text: str


def parse_place(text: str) -> tuple[int, int]:
    """Partition and offset; raises WrongUsage."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise WrongUsage(f"{text!r} is no place: partition/offset, as `autopack rejections list` shows it")
    return int(found[1]), int(found[2])


async def list_refusals(settings: Settings, project: str | None, run_id: str | None, limit: int) -> list[Refusal]:
    """The newest refused records."""
    async with reached(settings), opened_store(settings) as store, store.pool.acquire() as connection:
        page = await list_rejections(connection, project=project, run_id=run_id, limit=limit)
    return [_refusal(row) for row in page.rejections]


async def show_refusal(settings: Settings, partition: int, offset: int) -> Refusal:
    """One refused record; raises WrongUsage where there is none."""
    async with reached(settings), opened_store(settings) as store:
        return _refusal(await _row(store, partition, offset))


async def resubmit(settings: Settings, partition: int, offset: int) -> tuple[Topic, int, int]:
    """Submit a refused record again to the topic that it came from; where it lies now."""
    async with reached(settings), opened_store(settings) as store:
        row = await _row(store, partition, offset)
        if row.source_topic not in SUBMITTED:
            raise Unsuccessful(
                f"it came from {row.source_topic or 'an unknown topic'}: it cannot be submitted again"
            )
        headers = {name: base64.b64decode(value) for name, value in row.headers.items()}
        placed = await store.log.submit(Topic(row.source_topic), [NewRecord(row.project, row.raw, headers)])
    place, new_offset = placed[0]
    return place.topic, place.partition, new_offset


async def _row(store: Store, partition: int, offset: int) -> RejectionRow:
    async with store.pool.acquire() as connection:
        try:
            return await read_rejection(connection, partition, offset)
        except RejectionNotFound as error:
            raise WrongUsage(str(error)) from error


def _refusal(row: RejectionRow) -> Refusal:
    came_from = (row.source_topic, row.source_partition, row.source_offset)
    return Refusal(
        place=f"{row.partition}/{row.log_offset}",
        rejected_at=row.rejected_at.isoformat(),
        project=row.project,
        run_id=row.run_id,
        type=row.type,
        reason=row.reason,
        message=row.message,
        faults=row.faults,
        source_place="/".join(map(str, came_from)) if row.source_topic else None,
        text=row.raw.decode("utf-8", "replace"),
    )
