"""Records that this version cannot read, written into the history as a newer supervisor would write them."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

from events.catalogue import Topic
from events.envelope import write_history
from events.event import Event
from events.families.work import WorkStarted
from events.history import NO_HEAD, Head, next_head
from events.log.partitions import home_partition
from events.log.port import EventLog, Fenced, NewRecord, Place, Step, StoredRecord
from faults.changed import NEWER_TYPE
from faults.observer import Run

POISON_ID = "from-the-future"
LIMIT_SECONDS = 60.0


async def poison(log: EventLog, run: Run, request_id: str) -> tuple[Place, int]:
    """Claim a run's request in a version that does not exist yet. Its place, and its offset.

    The supervisor takes its partition over again a moment after it was fenced: who was slower has written nothing.
    """
    place = Place(Topic.EVENTS, home_partition(run[0], log.partition_count))
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            with suppress(Fenced):
                return await _poison(log, place, run, request_id)
            await asyncio.sleep(0.1)


async def _poison(log: EventLog, place: Place, run: Run, request_id: str) -> tuple[Place, int]:
    writer = await log.take_over(place.partition, POISON_ID)  # and nobody writes meanwhile
    try:
        head = _head(await _records(log, place), run)
        claim = WorkStarted(request_id=request_id, instance=POISON_ID, limit_seconds=60.0)
        event = Event(POISON_ID, "/future", run[1], datetime.now(UTC), claim)
        value = write_history(event, run[0], head.sequence + 1, head.digest)
        newer = value.replace(WorkStarted.type_name().encode(), NEWER_TYPE.encode())
        record = NewRecord(run[0], newer, {"type": NEWER_TYPE.encode(), "run": run[1].encode()})
        end = await writer.append(Step(events=[record], positions=writer.positions))
    finally:
        await writer.close()
    return place, max(one.offset for one in await _records(log, place, end - 2) if POISON_ID.encode() in one.value)


async def _records(log: EventLog, place: Place, start: int = 0) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    while more := await log.read(place, found[-1].offset + 1 if found else max(0, start)):
        found += more
    return found


def _head(records: list[StoredRecord], run: Run) -> Head:
    head = NO_HEAD
    for one in records:
        if (one.key, one.headers["run"].decode()) == run:
            head = next_head(head, str(one.type_name), one.value)
    return head
