"""A run's history: pages of the timeline, or the exact bytes of its records as NDJSON; and live output."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import Place, StoredRecord
from projections.queries.timeline import list_events
from projections.runs import RunRow
from services.api.context import ApiContext, Context
from services.api.runs import Project, view_of_run
from services.api.views import event_line

router = APIRouter()
NDJSON = "application/x-ndjson"
WAIT_SECONDS = 1.0
ENDS = ("autopack.RunCompleted.", "autopack.RunFailed.")


@router.get("/runs/{run_id}/events", response_model=None)
async def get_events(
    context: Context,
    run_id: str,
    project: Project = None,
    after: Annotated[int, Query(ge=-1, lt=2**31, description="the sequence behind which to begin")] = -1,
    limit: Annotated[int | None, Query(ge=1, le=10_000)] = None,
    follow: bool = False,
    accept: Annotated[str, Header()] = "",
) -> dict[str, Any] | StreamingResponse:
    """Events in order. With `Accept: application/x-ndjson` the exact records, a line each.

    `follow` keeps the stream open until the run has ended.
    """
    run = (await view_of_run(context, run_id, project)).run
    if NDJSON in accept or follow:
        return StreamingResponse(_records(context, run, after, limit, follow), media_type=NDJSON)
    async with context.pool.acquire() as connection:
        page = await list_events(connection, run.project, run.run_id, from_sequence=after + 1, limit=limit or 100)
    last = None if page.next_sequence is None else page.next_sequence - 1
    return {"run_id": run_id, "events": [event_line(row) for row in page.events], "next_after": last}


async def _records(
    context: ApiContext, run: RunRow, after: int, limit: int | None, follow: bool
) -> AsyncIterator[bytes]:
    """The run's records as they stand in the log, each ended by a line feed."""
    sequence = -1
    sent = 0
    place = Place(Topic.EVENTS, run.partition)
    async with aclosing(_read_on(context, place, run.first_offset, follow)) as records:
        async for record in records:
            if not _belongs(record, run):
                continue
            sequence += 1
            if sequence > after:
                yield record.value + b"\n"
                sent += 1
            ended = (record.type_name or "").startswith(ENDS)
            if sent == limit or (follow and ended):
                return


def _belongs(record: StoredRecord, run: RunRow) -> bool:
    return record.key == run.project and record.headers.get("run") == run.run_id.encode()


async def _read_on(
    context: ApiContext, place: Place, start: int, follow: bool
) -> AsyncGenerator[StoredRecord, None]:
    """Records of a place; without `follow` as far as it reaches now."""
    end = None if follow else (await context.log.ends(place.topic)).get(place.partition, 0)
    while end is None or start < end:
        records = await context.log.read(place, start, end)
        for record in records:
            yield record
            start = record.offset + 1
        if not records:
            if end is not None:
                return
            await _change(context)


async def _change(context: ApiContext) -> None:
    """Wait until the tables change, which they do when the log has; a second at most."""
    try:
        await asyncio.wait_for(context.changes.next().wait(), WAIT_SECONDS)
    except TimeoutError:
        return


@router.get("/runs/{run_id}/output")
async def get_output(context: Context, run_id: str, project: Project = None) -> StreamingResponse:
    """What agents and checks of the run write from now on: a JSON object a batch of lines."""
    run = (await view_of_run(context, run_id, project)).run
    return StreamingResponse(_output(context, run), media_type=NDJSON)


async def _output(context: ApiContext, run: RunRow) -> AsyncIterator[bytes]:
    place = Place(Topic.OUTPUT, home_partition(run.project, context.log.partition_count))
    end = (await context.log.ends(Topic.OUTPUT)).get(place.partition, 0)
    tail = context.log.tail()
    try:
        tail.follow(place, end)
        while True:
            batches = await tail.batches(WAIT_SECONDS)
            for record in batches.get(place, ()):
                if record.headers.get("run") == run.run_id.encode() and record.key == run.project:
                    yield record.value + b"\n"
            if not batches:
                yield b"\n"  # a blank line shows whether the client is still there
    finally:
        await tail.close()
