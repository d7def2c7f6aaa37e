"""The commands on a run's history: `events`, `replay`, `audit verify`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from services.cli import parameters as given
from services.cli.client import Client
from services.cli.failures import Unsuccessful, WrongUsage
from services.cli.output import print_bytes, print_json, print_line, tell
from services.cli.reaching import reached
from services.cli.records import read_record
from services.cli.replaying import Replayed, as_document, replay
from services.cli.setting_up import settings_for_command
from services.cli.telling import told
from services.cli.verifying import Verification, verify

commands = given.group()

audits = given.group("The integrity of the history.")
commands.add_typer(audits, name="audit", rich_help_panel=given.HISTORY)
RUNS_A_PAGE = 500

Follow = Annotated[bool, typer.Option("--follow", help="Go on with what is written, until the run has ended.")]
To = Annotated[
    int | None,
    typer.Option("--to", metavar="SEQUENCE", min=0, help="Up to and including this event.", show_default=False),
]


@commands.command(rich_help_panel=given.HISTORY)
def events(
    run: given.RunId, follow: Follow = False, project: given.Project = None, json: given.Json = False
) -> None:
    """Print the events of a run in their order. As JSON they are the exact records, the bytes that were hashed.

    With --follow and --json there is one record a line.
    """

    async def printed() -> None:
        async with reached(settings_for_command()) as client:
            records = client.of_project(project).records(run, follow=follow)
            if not json:
                await _print_told(records)
            elif follow:
                async for record in records:
                    print_bytes(record)
            else:
                print_bytes(b"[" + b",\n".join([record async for record in records]) + b"]")

    asyncio.run(printed())


async def _print_told(records: AsyncIterator[bytes]) -> None:
    since = None
    async for record in records:
        event = read_record(record)
        since = since or event.event.recorded_at
        head, *particulars = told(event, since)
        print_line(f"{event.sequence:>4}  {head}")
        for line in particulars:
            print_line(f"      {line}")


@commands.command("replay", rich_help_panel=given.HISTORY)
def replay_(run: given.RunId, to: To = None, project: given.Project = None, json: given.Json = False) -> None:
    """Fold the state of a run again from its events, as the supervisor does, up to any of them."""

    async def folded() -> None:
        async with reached(settings_for_command()) as client:
            replayed = await replay(run, client.of_project(project).records(run), to)
        if replayed.run is None and replayed.ended is None:
            raise WrongUsage(f"Run {run} not found")
        if json:
            print_json(as_document(replayed))
        else:
            _print_state(replayed)

    asyncio.run(folded())


def _print_state(replayed: Replayed) -> None:
    document = as_document(replayed)
    print_line(f"{replayed.run_id} in {replayed.project}, after event {replayed.sequence}: {document['state']}")
    run = replayed.run
    if run is None:
        return
    at_least = "at least " if run.tokens_are_lower_bound else ""
    print_line(f"  head {run.head or 'none'}, {at_least}{run.tokens_used} tokens, {run.ci_runs_used} CI runs")
    for phase in run.phases:
        landed = f", landed as {phase.commit[:12]}" if phase.commit else ""
        print_line(f"  {phase.spec.phase_id}: {phase.state}, attempt {phase.attempt}{landed}")
    for request in run.open.values():
        claimed = f"claimed by {request.claim.instance}" if request.claim else "not claimed"
        print_line(f"  open: {request.kind} {request.phase_id or ''} ({claimed})")


@audits.command("verify")
def verify_(run: given.OptionalRunId = None, project: given.Project = None, json: given.Json = False) -> None:
    """Check that the history is whole: every record numbered, and bound by hash to the one before.

    Without RUN, every run. Exit code 1: a record was changed, lost or added by somebody else.
    """

    async def verified() -> list[Verification]:
        async with reached(settings_for_command()) as client:
            return [
                await verify(await own.run(run_id), own.records_left(run_id))
                async for run_id, own in _chosen(client, run, project)
            ]

    found = asyncio.run(verified())
    broken = [one for one in found if not one.whole]
    if json:
        print_json({"whole": not broken, "runs": found})
    for one in () if json else found:
        verdict = f"whole, {one.records} records, sha256:{one.digest}" if one.whole else f"BROKEN: {one.fault}"
        print_line(f"{one.run_id}: {verdict}")
    if not found:
        tell("There are no runs.")
    if broken:
        raise Unsuccessful(f"{len(broken)} of {len(found)} histories are broken")


async def _chosen(client: Client, run: str | None, project: str | None) -> AsyncIterator[tuple[str, Client]]:
    """The run that is named, or every one there is, and who asks of its project."""
    if run is not None:
        yield run, client.of_project(project)
        return
    cursor: str | None = None
    while True:
        page = await client.of_project(project).runs(RUNS_A_PAGE, cursor=cursor)
        for line in page["runs"]:
            yield line["run_id"], client.of_project(line["project"])
        cursor = page.get("next")
        if cursor is None:
            return
