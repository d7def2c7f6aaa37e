"""`run` and `watch`: a run submitted, followed to its end, and told of."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from events.families.run import RunRequested
from events.plan import RunRequest
from events.states import RunState
from projections.run_files.names import run_folder
from services.cli.client import Client, Refused
from services.cli.failures import Interrupted, ServiceUnreachable, Unsuccessful, WrongUsage
from services.cli.following import Following, Lines, Silent, Watcher
from services.cli.interrupts import Interrupts
from services.cli.live import LiveView
from services.cli.outcome import outcome
from services.cli.output import print_json, print_line, stderr_console, stdout_console, tell
from services.cli.reaching import service_at_hand, started_here
from services.cli.records import read_record
from services.cli.run_view import RunView
from services.cli.services_here import EVERYTHING, AgentCommands
from services.settings import Settings

CANCEL_SECONDS = 10.0
TAKEN = (400, 409)
VISIBLE_TRIES = 60
TABLES_SECONDS = 10.0
TABLES_PAUSE_SECONDS = 0.05
FILLED_IN = {"project", "repository", "run_id"}


@dataclass(frozen=True, slots=True)
class Manner:
    """How a run is submitted and shown."""

    commands: AgentCommands = field(default_factory=dict)
    detach: bool = False
    as_json: bool = False


async def run_plan(settings: Settings, request: RunRequest, manner: Manner) -> None:
    """Submit a request and follow its run to the end; raises Unsuccessful where it does not end well."""
    with Interrupts() as interrupts:
        async with service_at_hand(settings) as client:
            if client is not None:
                _refuse_commands(client, manner)
                await submit_and_follow(settings, client, request, manner, interrupts)
                return
        if manner.detach:
            raise ServiceUnreachable(
                "--detach needs a service that goes on with the run: start one with `autopack up`"
            )
        if stderr_console().is_terminal:
            tell("No service runs here: starting one for this run …")
        async with started_here(settings, EVERYTHING, manner.commands) as client:
            await submit_and_follow(settings, client, request, manner, interrupts)


def _refuse_commands(client: Client, manner: Manner) -> None:
    if manner.commands:
        raise WrongUsage(
            "--builder-command and --auditor-command are for a service that this command starts itself, and one "
            f"runs at {client.address}: name an agent of its agents.toml with --builder and --auditor"
        )


async def submit_and_follow(
    settings: Settings, client: Client, request: RunRequest, manner: Manner, interrupts: Interrupts
) -> None:
    """Submit a request, and cancel its run where the command is interrupted, from its submission on."""
    run_id, project = await _submitted(client, request, interrupts)
    client = client.of_project(project)
    if manner.detach:
        await _tell_of_detached(client, run_id, as_json=manner.as_json)
        return
    view = await follow(client, run_id, as_json=manner.as_json, interrupts=interrupts)
    await tell_of_end(settings, client, view, as_json=manner.as_json)


async def _submitted(client: Client, request: RunRequest, interrupts: Interrupts) -> tuple[str, str | None]:
    """What `submit` returns. Interrupted meanwhile, it is waited for a moment: the run is to be cancelled."""
    interrupts.expect()
    submitting = asyncio.create_task(submit(client, request), name="submitting")
    asked = asyncio.create_task(interrupts.wait(), name="interrupts")
    try:
        await asyncio.wait({submitting, asked}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({submitting}, timeout=CANCEL_SECONDS)
        if submitting.done():
            return submitting.result()
    finally:
        for task in (submitting, asked):
            task.cancel()
        await asyncio.wait({submitting, asked})
    raise Interrupted("interrupted; whether the run is taken up is not known yet: `autopack status` will tell")


async def submit(client: Client, request: RunRequest) -> tuple[str, str | None]:
    """Submit a request; the id of the run and its project.

    An id that is taken by a run which was asked for in the same words and has not ended is that run: a
    command that was killed goes on with it.
    """
    try:
        started = await client.start(request.model_dump(mode="json"))
    except Refused as refusal:
        if refusal.status not in TAKEN or request.run_id is None:
            raise
        if not await _is_same_and_open(client.of_project(request.project), request):
            raise
        tell(f"The run {request.run_id} is open already: going on with it.")
        return request.run_id, request.project
    run_id, project = str(started["run_id"]), started.get("project")
    if "state" not in started:
        await _visible(client.of_project(project), run_id)
    return run_id, project


async def _visible(client: Client, run_id: str) -> None:
    """Wait until a run shows that is safe in the log, but that nobody has taken up yet."""
    tell(f"{run_id} is in the log, and waits to be taken up …")
    for _ in range(VISIBLE_TRIES):
        try:
            await client.run(run_id)
        except Refused:
            await asyncio.sleep(1.0)
        else:
            return
    raise ServiceUnreachable(
        f"{run_id} was not taken up: is a supervisor running? autopack watch {run_id} goes on"
    )


async def _is_same_and_open(client: Client, request: RunRequest) -> bool:
    """Whether the run of that id was asked for in the same words, and goes on."""
    try:
        document = await client.run(request.run_id or "")
        if RunState(document["state"]).is_terminal:
            return False
        async for line in client.records(request.run_id or ""):
            first = read_record(line).event.data
            return isinstance(first, RunRequested) and _wanted(first) == _wanted(request)
    except Refused:
        pass  # what was refused is another run's id then
    return False


def _wanted(request: RunRequest) -> dict[str, Any]:
    return request.model_dump(exclude=FILLED_IN)


async def _tell_of_detached(client: Client, run_id: str, *, as_json: bool) -> None:
    if as_json:
        print_json(await client.run(run_id))
    else:
        print_line(f"{run_id} is on its way: autopack watch {run_id}")


async def follow(client: Client, run_id: str, *, as_json: bool, interrupts: Interrupts | None = None) -> RunView:
    """Show a run until it has ended. With `interrupts`, Ctrl-C or SIGTERM cancels it; raises Interrupted."""
    async with watcher(as_json=as_json) as watching:
        following = Following(client, run_id, watching)
        if interrupts is None:
            return await following.to_the_end()
        return await _interruptible(client, run_id, following, interrupts)


async def _interruptible(client: Client, run_id: str, following: Following, interrupts: Interrupts) -> RunView:
    end = asyncio.create_task(following.to_the_end(), name="following")
    asked = asyncio.create_task(interrupts.wait(), name="interrupts")
    try:
        await asyncio.wait({end, asked}, return_when=asyncio.FIRST_COMPLETED)
        if end.done():
            return end.result()
        tell(f"Cancelling {run_id}; Ctrl-C again leaves at once.")
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                with suppress(Refused):  # it ended of itself meanwhile, which is about to show
                    await client.cancel(run_id, "the command that followed it was interrupted")
                await asyncio.wait({end})
    finally:
        for task in (end, asked):
            task.cancel()
        await asyncio.wait({end, asked})
    state = following.view.run.state if following.view.run else "unknown"
    raise Interrupted(f"interrupted; the run {run_id} is {state}")


@asynccontextmanager
async def watcher(*, as_json: bool) -> AsyncIterator[Watcher]:
    """Somebody who shows a run: drawn on a terminal, told in lines elsewhere; on stderr beside JSON."""
    console = stderr_console() if as_json else stdout_console()
    if console.is_terminal:
        live = LiveView(console)
        async with live.drawing():
            yield live
    else:
        yield Lines(tell if as_json else print_line)


async def run_document(settings: Settings, client: Client, run_id: str) -> dict[str, Any]:
    """A run as the service tells it, with the folder of its files where that is on this machine."""
    document: dict[str, Any] = {"run_files": None} | await client.run(run_id)
    if document["run_files"] is None and settings.url is None:
        folder = run_folder(settings.run_files_folder, settings.project, document["project"], run_id)
        document["run_files"] = str(folder)
    return document


async def _ended_document(settings: Settings, client: Client, run_id: str) -> dict[str, Any]:
    """The document of a run that has ended: the tables may be a moment behind the history that was followed."""
    document = await run_document(settings, client, run_id)
    give_up_at = monotonic() + TABLES_SECONDS
    while not RunState(document["state"]).is_terminal and monotonic() < give_up_at:
        await asyncio.sleep(TABLES_PAUSE_SECONDS)
        document = await run_document(settings, client, run_id)
    return document


async def tell_of_end(settings: Settings, client: Client, view: RunView, *, as_json: bool) -> None:
    """Print what became of a run; raises Unsuccessful unless it is DONE_SUCCESS."""
    if view.run is None:
        raise ServiceUnreachable("the run was not heard of again")
    document = await _ended_document(settings, client, view.run.run_id)
    if as_json:
        print_json(document)
    else:
        for line in ("", *outcome(view, document.get("run_files"))):
            print_line(line)
    if view.run.state != RunState.DONE_SUCCESS:
        raise Unsuccessful  # the outcome has been told


async def read_view(client: Client, run_id: str) -> RunView:
    """A run as it stands."""
    following = Following(client, run_id, Silent())
    return await following.as_it_stands()
