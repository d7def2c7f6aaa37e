"""Services in this process: for a command that finds none at hand, and for `up` and `serve`."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from events.log.port import LogUnavailable, LogUnfit
from projections.opening import DatabaseUnavailable, DatabaseUnfit
from services.agents import AgentsFileInvalid
from services.cli.failures import CommandFailure, ServiceUnreachable, Unsuccessful, WrongUsage
from services.embedded.postgres import ServerDidNotStart
from services.sandbox import SandboxUnavailable
from services.settings import Settings

if TYPE_CHECKING:
    from services.compose import Application

EPHEMERAL = "127.0.0.1:0"
READY_SECONDS = 60.0
POLL_SECONDS = 0.02
SUPERVISOR = "supervisor"
API = "api"
READING = frozenset({"projector", API})
WORKING = frozenset({"builder", "auditor", "applier", "verifier"})
EVERYTHING = READING | WORKING | {SUPERVISOR}

UNFIT = (LogUnfit, DatabaseUnfit)
"""What no waiting mends."""

AgentCommands = Mapping[str, tuple[str, ...]]
"""Commands for `builder` and `auditor`, given on the command line; they stand in no event."""


@asynccontextmanager
async def services_here(
    settings: Settings, services: frozenset[str], commands: AgentCommands | None = None, *, patient: bool = False
) -> AsyncIterator["Application"]:
    """Run services in this process, and stop them at the end. A service that fails ends what goes on inside.

    With `patient` they wait for a log or a database that is away. Raises ServiceUnreachable where a server is
    missing, WrongUsage where the file of agents cannot be meant, Unsuccessful where this machine or the servers
    are not fit for it.
    """
    # A command that runs no service need not wait for what they all have in common.
    from services.compose import Commands, Service, compose

    chosen = frozenset(map(Service, services))
    try:
        async with compose(settings, chosen, Commands(**(commands or {})), patient=patient) as application:
            stop = asyncio.Event()
            running = asyncio.create_task(application.run(stop), name="services")
            try:
                async with _ended_with(running):
                    yield application
            finally:
                stop.set()
                await asyncio.wait({running})
    except (LogUnavailable, DatabaseUnavailable, ServerDidNotStart) as error:
        raise ServiceUnreachable(str(error)) from error
    except AgentsFileInvalid as error:
        raise WrongUsage(str(error)) from error
    except (SandboxUnavailable, *UNFIT) as error:
        raise Unsuccessful(str(error)) from error


@asynccontextmanager
async def _ended_with(running: asyncio.Task[None]) -> AsyncIterator[None]:
    """Cancel what goes on inside when the services end of themselves, and say why they did."""
    inside = asyncio.current_task()
    told = False

    def end(_: asyncio.Task[None]) -> None:
        nonlocal told
        if inside is not None and not told:
            told = True
            inside.cancel()

    running.add_done_callback(end)
    try:
        yield
    except asyncio.CancelledError:
        if told and inside is not None:
            inside.uncancel()
            raise _reason(running) from None
        raise
    finally:
        running.remove_done_callback(end)


def _reason(running: asyncio.Task[None]) -> CommandFailure:
    error = None if running.cancelled() else running.exception()
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, UNFIT):
        return Unsuccessful(str(error))
    return Unsuccessful(f"the services ended: {type(error).__name__}: {error}")


async def address_of(application: "Application") -> str:
    """The address of the API that runs here, once it takes requests; raises Unsuccessful."""
    status = application.statuses[API]
    for _ in range(int(READY_SECONDS / POLL_SECONDS)):
        if "url" in status.facts:
            return str(status.facts["url"])
        await asyncio.sleep(POLL_SECONDS)
    raise Unsuccessful(f"the API did not begin to serve within {READY_SECONDS:g} s: {status.trouble}")
