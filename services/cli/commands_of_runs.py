"""The commands on runs that a service has: `status`, `watch`, `cancel`, `retry`, `report`, `diff`, `logs`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from time import time

from services.cli import parameters as given
from services.cli.client import Client
from services.cli.drawing import counted, draw
from services.cli.failures import WrongUsage
from services.cli.output import print_json, print_line, show, table, tell
from services.cli.reaching import has_service, reached, running_service
from services.cli.reporting import report_lines
from services.cli.retrying import remaining_request
from services.cli.run_view import RunView
from services.cli.running import follow, read_view, run_document, submit, tell_of_end
from services.cli.setting_up import settings_for_command
from services.cli.telling import clock
from services.settings import Settings

commands = given.group()

RUNS_SHOWN = 50


@commands.command(rich_help_panel=given.RUNS)
def status(run: given.OptionalRunId = None, project: given.Project = None, json: given.Json = False) -> None:
    """Show the newest runs, or how one run stands."""

    async def shown(client: Client, settings: Settings) -> None:
        if run is None:
            await _show_runs(client, as_json=json)
        elif json:
            print_json(await run_document(settings, client, run))
        else:
            view = await _known(client, run)
            show(draw(view, datetime.fromtimestamp(time(), UTC)))
            if not view.ended and not has_service(settings):
                tell("No service runs: `autopack up` goes on with it, and so does `autopack run` with its id.")

    _reading(shown, project)


async def _show_runs(client: Client, *, as_json: bool) -> None:
    page = await client.runs(RUNS_SHOWN)
    if as_json:
        print_json(page)
        return
    columns = ("run", "project", "state", "tokens", "CI runs", "took", "created")
    show(table(columns, map(_row, page["runs"])))


def _row(run: dict[str, object]) -> tuple[object, ...]:
    took = run.get("duration_seconds")
    return (
        run["run_id"],
        run.get("project"),
        run["state"],
        counted(int(str(run.get("tokens_used") or 0)), bool(run.get("tokens_are_lower_bound"))),
        run.get("ci_runs_used"),
        None if took is None else clock(float(str(took))),
        str(run.get("created_at") or "")[:19],
    )


@commands.command(rich_help_panel=given.RUNS)
def watch(run: given.RunId, project: given.Project = None, json: given.Json = False) -> None:
    """Watch a run to its end. Ctrl-C stops watching; the run goes on."""

    async def watched() -> None:
        settings = settings_for_command()
        async with running_service(settings) as client:
            of_project = client.of_project(project)
            await tell_of_end(settings, of_project, await follow(of_project, run, as_json=json), as_json=json)

    asyncio.run(watched())


@commands.command(rich_help_panel=given.RUNS)
def cancel(
    run: given.RunId,
    project: given.Project = None,
    reason: given.Reason = "",
    json: given.Json = False,
) -> None:
    """Cancel a run: its agents are stopped, and it ends as DONE_FAILED_CANCELLED."""

    async def cancelled() -> None:
        async with running_service(settings_for_command()) as client:
            answer = await client.of_project(project).cancel(run, reason)
            if json:
                print_json(answer)
            else:
                print_line(f"{run} is being cancelled.")

    asyncio.run(cancelled())


@commands.command(rich_help_panel=given.RUNS)
def retry(
    run: given.RunId,
    project: given.Project = None,
    run_id: given.NewRunId = None,
    json: given.Json = False,
) -> None:
    """Start a new run with the phases that an ended run did not complete, from its last snapshot on."""

    async def retried() -> None:
        async with running_service(settings_for_command()) as client:
            request = await remaining_request(client.of_project(project), run, run_id)
            started, started_project = await submit(client, request)
            if json:
                print_json(await client.of_project(started_project).run(started))
            else:
                print_line(f"{started} is on its way with {len(request.phases)} phases: autopack watch {started}")

    asyncio.run(retried())


@commands.command(rich_help_panel=given.RUNS)
def report(run: given.RunId, project: given.Project = None, json: given.Json = False) -> None:
    """Show what happened in a run, phase by phase: budgets, attempts, every setback and what it was."""

    async def reported(client: Client, settings: Settings) -> None:
        if json:
            print_json(await client.summary(run))
            return
        view = await _known(client, run)
        document = await run_document(settings, client, run)
        show(draw(view, datetime.fromtimestamp(time(), UTC)))
        async for line in report_lines(client, view, document.get("run_files")):
            print_line(line)

    _reading(reported, project)


async def _known(client: Client, run_id: str) -> RunView:
    view = await read_view(client, run_id)
    if view.run is None:
        raise WrongUsage(f"Run {run_id} not found")
    return view


@commands.command(rich_help_panel=given.RUNS)
def diff(
    run: given.RunId, phase: given.PhaseId = None, project: given.Project = None, json: given.Json = False
) -> None:
    """Show what a run changed, or one of its phases; of a phase that failed, its last patch."""
    from services.cli.changes import change_of

    async def shown(client: Client, settings: Settings) -> None:
        change = await change_of(settings, await _known(client, run), phase)
        if json:
            print_json({"run_id": run, "phase_id": phase, "source": change.source, "diff": change.text})
            return
        tell(change.source)
        print_line(change.text.removesuffix("\n"))

    _reading(shown, project)


@commands.command(rich_help_panel=given.RUNS)
def logs(
    run: given.RunId, phase: given.PhaseId = None, project: given.Project = None, json: given.Json = False
) -> None:
    """Print what agents and checks wrote in a run, or in one of its phases."""
    from services.cli.changes import phase_of
    from services.cli.kept_logs import kept_logs

    async def printed(client: Client, settings: Settings) -> None:
        view = await _known(client, run)
        if phase is not None:
            phase_of(view, phase)
        found = [kept async for kept in kept_logs(settings, client, view, phase)]
        if json:
            print_json({"run_id": run, "logs": found})
            return
        for kept in found:
            print_line(
                f"==> {kept['phase_id']}, attempt {kept['attempt']}: {kept['event']} {kept['name']}".rstrip()
            )
            print_line(str(kept["text"]).rstrip())
        if not found:
            tell("Nothing was written.")

    _reading(printed, project)


def _reading(work: Callable[[Client, Settings], Awaitable[None]], project: str | None) -> None:
    """Do something with the service at hand, or with what the home holds."""

    async def done() -> None:
        settings = settings_for_command()
        async with reached(settings) as client:
            await work(client.of_project(project), settings)

    asyncio.run(done())
