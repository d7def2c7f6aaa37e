"""The commands that run services: `up` and `serve`."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.cli import parameters as given
from services.cli.failures import INTERRUPTED, Unsuccessful, WrongUsage
from services.cli.output import print_json_line, print_line
from services.cli.reaching import ServiceRecord, own_pid, remove_record, service_at_hand, write_record
from services.cli.services_here import API, EVERYTHING, address_of, services_here
from services.cli.setting_up import settings_for_service
from services.garbage import spare_what_stays
from services.settings import Settings

commands = given.group()


@commands.command(rich_help_panel=given.OPERATIONS)
def up(json: given.Json = False) -> None:
    """Run all services and the API in this process, until Ctrl-C or SIGTERM.

    On the embedded default, or on the servers that are configured (AUTOPACK_LOG, AUTOPACK_DATABASE). Its
    address is left in AUTOPACK_HOME, where the other commands find it.
    """
    settings = settings_for_service()
    asyncio.run(_up(settings, as_json=json))


async def _up(settings: Settings, *, as_json: bool) -> None:
    async with service_at_hand(settings.model_copy(update={"url": None})) as client:
        if client is not None:
            raise Unsuccessful(f"a service runs on this home already, at {client.address}")
    async with _until_signalled() as stopped, services_here(settings, EVERYTHING, patient=True) as application:
        url = await address_of(application)
        spare_what_stays()
        write_record(settings.service_file, ServiceRecord(url, own_pid()))
        try:
            if as_json:
                print_json_line({"url": url, "home": str(settings.home_folder)})
            else:
                print_line(f"Autopack is up at {url}, home {settings.home_folder}")
            await stopped.wait()
        finally:
            remove_record(settings.service_file, own_pid())


@commands.command(rich_help_panel=given.OPERATIONS)
def serve(service: given.ServiceName, json: given.Json = False) -> None:
    """Run one service in this process, until Ctrl-C or SIGTERM: work at hand is finished within its grace."""
    settings = settings_for_service()
    if service not in EVERYTHING:
        raise WrongUsage(f"there is no service {service!r}: {', '.join(sorted(EVERYTHING))}")
    asyncio.run(_serve(settings, service, as_json=json))


async def _serve(settings: Settings, service: str, *, as_json: bool) -> None:
    chosen = frozenset({service})
    async with _until_signalled() as stopped, services_here(settings, chosen, patient=True) as application:
        url = await address_of(application) if service == API else None
        spare_what_stays()
        if as_json:
            print_json_line({"service": service, "url": url})
        else:
            print_line(f"{service} is running{f' at {url}' if url else ''}")
        await stopped.wait()


@asynccontextmanager
async def _until_signalled() -> AsyncIterator[asyncio.Event]:
    """Set at the first SIGINT or SIGTERM; a second one leaves at once."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def signalled() -> None:
        if stopped.is_set():
            os._exit(INTERRUPTED)
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signalled)
    try:
        yield stopped
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
