"""A run's history: pages of the timeline, or the exact bytes of its records as NDJSON; and live output."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from projections.queries.timeline import list_events
from services.api.context import Context
from services.api.runs import Project, view_of_run
from services.api.streams import output_of, records_of
from services.api.views import event_line

router = APIRouter()
NDJSON = "application/x-ndjson"


@router.get("/runs/{run_id}/events", response_model=None)
async def get_events(
    context: Context,
    run_id: str,
    project: Project = None,
    after: Annotated[int, Query(ge=-1, lt=2**31, description="the sequence behind which to begin")] = -1,
    limit: Annotated[int | None, Query(ge=1, le=10_000)] = None,
    follow: bool = False,
    holes: Annotated[bool, Query(description="pass over records that the log has lost")] = False,
    accept: Annotated[str, Header()] = "",
) -> dict[str, Any] | StreamingResponse:
    """Events in order. With `Accept: application/x-ndjson` the exact records, a line each.

    `follow` keeps the stream open until the run has ended. It breaks off where the log has lost records,
    unless `holes` are to be passed over.
    """
    run = (await view_of_run(context, run_id, project)).run
    if NDJSON in accept or follow:
        await context.log.check()  # while there still is a status to say it with
        return StreamingResponse(records_of(context, run, after, limit, follow, holes), media_type=NDJSON)
    async with context.database() as connection:
        page = await list_events(connection, run.project, run.run_id, from_sequence=after + 1, limit=limit or 100)
    last = None if page.next_sequence is None else page.next_sequence - 1
    return {"run_id": run_id, "events": [event_line(row) for row in page.events], "next_after": last}


@router.get("/runs/{run_id}/output")
async def get_output(context: Context, run_id: str, project: Project = None) -> StreamingResponse:
    """What agents and checks of the run write from now on: a JSON object a batch of lines."""
    run = (await view_of_run(context, run_id, project)).run
    await context.log.check()
    return StreamingResponse(output_of(context, run), media_type=NDJSON)
