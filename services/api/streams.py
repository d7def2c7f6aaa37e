"""What is sent over time: the records of a run, as they stand in the log, and the output of its work."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, suppress

import orjson

from events.catalogue import Topic
from events.failpoints import failpoint
from events.log.partitions import home_partition
from events.log.port import HistoryCutOff, LogUnavailable, Place, StoredRecord
from projections.queries.timeline import last_offset, list_events
from projections.runs import RunRow
from services.api.context import ApiContext

PAGE_EVENTS = 500
NARROW_GAP = 100
WAIT_SECONDS = 1.0
REST_SECONDS = 0.05
ENDS = ("autopack.RunCompleted.", "autopack.RunFailed.")


async def records_of(
    context: ApiContext, run: RunRow, after: int, limit: int | None, follow: bool, holes: bool = False
) -> AsyncIterator[bytes]:
    """The run's records behind a sequence, each ended by a line feed; with `follow` until the run has ended.

    Raises HistoryCutOff where the log has lost some, unless `holes` are to be passed over, and LogUnavailable, but
    for what is only followed: that waits until the log is back.
    """
    sent, start, ended = 0, await _untold(context, run) if follow else 0, run.completed_at is not None
    async for record in _known(context, run, after, holes):
        yield record.value + b"\n"
        failpoint("answer-half-sent")
        sent, start, ended = sent + 1, max(start, record.offset + 1), ended or _is_end(record)
        if sent == limit:
            return
    if not follow or (ended and start > run.last_offset):
        return
    async for record in _coming(context, run, start, run.last_offset if ended else None):
        if orjson.loads(record.value)["sequence"] > after:
            yield record.value + b"\n"
            sent += 1
        ended = ended or _is_end(record)
        if sent == limit or (ended and record.offset >= run.last_offset):
            return


async def _untold(context: ApiContext, run: RunRow) -> int:
    """From where on records of the run may be unknown to the timeline, which may be behind the table of runs.

    Asked before the timeline is read: what comes to it in between is sent out of it, and moves this place on.
    """
    async with context.database() as connection:
        last = await last_offset(connection, run.project, run.run_id)
    return run.first_offset if last is None else last + 1


def _is_end(record: StoredRecord) -> bool:
    return (record.type_name or "").startswith(ENDS)


def _is_of(run: RunRow, record: StoredRecord) -> bool:
    return record.key == run.project and record.headers.get("run") == run.run_id.encode()


async def _known(context: ApiContext, run: RunRow, after: int, holes: bool) -> AsyncIterator[StoredRecord]:
    """What the tables know of: they say where each record lies, so that what lies around it is not read."""
    place = Place(Topic.EVENTS, run.partition)
    sequence: int | None = after + 1
    while sequence is not None:
        async with context.database() as connection:
            page = await list_events(
                connection, run.project, run.run_id, from_sequence=sequence, limit=PAGE_EVENTS
            )
        offsets = [row.log_offset for row in page.events]
        wanted = frozenset(offsets)
        for start, end in _ranges(offsets):
            async for record in _between(context, place, start, end, holes):
                # One of the run's own without its header counts, and one that bears it and stands among them.
                if record.offset in wanted or _is_of(run, record):
                    yield record
        sequence = page.next_sequence


def _ranges(offsets: Sequence[int]) -> Iterable[tuple[int, int]]:
    """Ranges that hold the offsets, and gaps between them that are cheaper to read than to leave out."""
    found: list[tuple[int, int]] = []
    for offset in offsets:
        if found and offset - found[-1][1] <= NARROW_GAP:
            found[-1] = (found[-1][0], offset + 1)
        else:
            found.append((offset, offset + 1))
    return found


async def _between(
    context: ApiContext, place: Place, start: int, end: int, holes: bool
) -> AsyncIterator[StoredRecord]:
    while start < end:
        try:
            records = await context.log.read(place, start, end)
        except HistoryCutOff as cut:
            if not holes:
                raise
            start = max(start + 1, cut.first)
            continue
        if not records:
            return
        for record in records:
            yield record
        start = records[-1].offset + 1


async def _coming(context: ApiContext, run: RunRow, start: int, last: int | None) -> AsyncIterator[StoredRecord]:
    """What comes from now on, up to the last where that is known.

    A log that is away is waited for: nothing is lost in the meantime.
    """
    place = Place(Topic.EVENTS, run.partition)
    while last is None or start <= last:
        change = context.changes.next()
        records: Sequence[StoredRecord] = ()
        with suppress(LogUnavailable):
            records = await context.log.read(place, start)
        for record in records:
            if _is_of(run, record):
                yield record
            start = record.offset + 1
        if not records:
            await _until(change)


async def _until(change: asyncio.Event) -> None:
    """The tables change when the log has. All who follow are woken by any change, hence the rest."""
    with suppress(TimeoutError):
        async with asyncio.timeout(WAIT_SECONDS):
            await change.wait()
    await asyncio.sleep(REST_SECONDS)


async def output_of(context: ApiContext, run: RunRow) -> AsyncIterator[bytes]:
    """Output of the run's work from now on; a blank line now and then shows whether anybody listens.

    After a loss of the log it goes on with what is said then.
    """
    while True:
        with suppress(LogUnavailable):
            async with aclosing(_heard(context, run)) as lines:
                async for line in lines:
                    yield line
        yield b"\n"
        await asyncio.sleep(WAIT_SECONDS)


async def _heard(context: ApiContext, run: RunRow) -> AsyncGenerator[bytes, None]:
    place = Place(Topic.OUTPUT, home_partition(run.project, context.log.partition_count))
    end = (await context.log.ends(Topic.OUTPUT)).get(place.partition, 0)
    tail = context.log.tail()
    try:
        tail.follow(place, end)
        while True:
            batches = await tail.batches(WAIT_SECONDS)
            for record in batches.get(place, ()):
                if _is_of(run, record):
                    yield record.value + b"\n"
            if not batches:
                yield b"\n"
    finally:
        await tail.close()
