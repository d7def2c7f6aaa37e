"""`report`: every setback of a run, and how it ended."""

from collections.abc import AsyncIterator

from services.cli.client import Client
from services.cli.outcome import outcome
from services.cli.records import read_record
from services.cli.run_view import RunView
from services.cli.telling import is_setback, told


async def report_lines(client: Client, view: RunView, run_files: str | None) -> AsyncIterator[str]:
    """What did not go straight on, in order, and the outcome."""
    run = view.run
    if run is None:
        return
    setbacks = [
        line
        async for record in client.records(run.run_id)
        if is_setback(event := read_record(record))
        for line in told(event, run.created_at)
    ]
    yield ""
    yield "Setbacks:" if setbacks else "No setbacks."
    for line in setbacks:
        yield line
    if view.ended:
        yield ""
        for line in outcome(view, run_files):
            yield line
