"""Finding the service that a command talks to, or starting one for as long as the command needs it."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from services.cli.client import Client, connected
from services.cli.failures import ServiceUnreachable
from services.cli.output import tell
from services.cli.services_here import EPHEMERAL, READING, AgentCommands, address_of, services_here
from services.settings import Settings

LONGEST_GRACE_SECONDS = 2.0
"""For work of other runs that goes on when a command ends; it stays open, and is done again."""

READY_TRIES = 200
READY_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """What `up` leaves in the home while it runs."""

    url: str
    pid: int


def write_record(file: Path, record: ServiceRecord) -> None:
    """Leave the address, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{record.pid}")
    draft.write_bytes(orjson.dumps({"url": record.url, "pid": record.pid}) + b"\n")
    draft.replace(file)


def remove_record(file: Path, pid: int) -> None:
    """Take the address away, if it still is the one of this process."""
    record = read_record(file)
    if record is not None and record.pid == pid:
        file.unlink(missing_ok=True)


def read_record(file: Path) -> ServiceRecord | None:
    """The address that a service left, None where there is none that could be read."""
    try:
        document = orjson.loads(file.read_bytes())
        return ServiceRecord(str(document["url"]), int(document["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _living(record: ServiceRecord | None) -> ServiceRecord | None:
    """The record, unless its process is dead: then its port may be somebody else's by now."""
    if record is None:
        return None
    try:
        os.kill(record.pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it is another user's, and lives
    return record


def has_service(settings: Settings) -> bool:
    """Whether a service is named, or one of this home lives: without one nothing goes on."""
    return settings.url is not None or _living(read_record(settings.service_file)) is not None


@asynccontextmanager
async def service_at_hand(settings: Settings) -> AsyncIterator[Client | None]:
    """The service that AUTOPACK_URL names, or that left its address in the home; None where none answers.

    Raises ServiceUnreachable where one is named that does not answer.
    """
    record = None if settings.url else _living(read_record(settings.service_file))
    url = settings.url or (record.url if record else None)
    if url is None:
        yield None
        return
    async with connected(url, settings.token) as client:
        if await client.is_alive():
            yield client
        elif settings.url:
            raise ServiceUnreachable(f"no service answers at {client.address}, which AUTOPACK_URL names")
        else:
            yield None  # it was killed, and could not take its address away


@asynccontextmanager
async def reached(settings: Settings) -> AsyncIterator[Client]:
    """A service to read from: the one at hand, else the read models of the home, opened for this command."""
    async with service_at_hand(settings) as client:
        if client is not None:
            yield client
            return
    async with started_here(settings, READING) as client:
        yield client


@asynccontextmanager
async def started_here(
    settings: Settings, services: frozenset[str], commands: AgentCommands | None = None
) -> AsyncIterator[Client]:
    """Services in this process, ready, and a client of their API."""
    grace_seconds = min(settings.grace_seconds, LONGEST_GRACE_SECONDS)
    local = settings.model_copy(update={"listen": EPHEMERAL, "grace_seconds": grace_seconds})
    async with (
        services_here(local, services, commands) as application,
        connected(await address_of(application), settings.token) as client,
    ):
        await _ready(client)
        yield client


async def _ready(client: Client) -> None:
    """Wait until services work, and read models hold all that the history does; what stands still is told."""
    trouble = ""
    for _ in range(READY_TRIES):
        try:
            troubles = (await client.readiness()).get("troubles", {})
            if not troubles:
                return
            trouble = "; ".join(f"{name}: {text}" for name, text in troubles.items())
        except ServiceUnreachable as error:
            trouble = str(error)
        await asyncio.sleep(READY_PAUSE_SECONDS)
    tell(f"Not everything is ready: {trouble}")


@asynccontextmanager
async def running_service(settings: Settings) -> AsyncIterator[Client]:
    """The service at hand. Raises ServiceUnreachable where there is none."""
    async with service_at_hand(settings) as client:
        if client is None:
            raise ServiceUnreachable(
                "no service runs here: start one with `autopack up`, or name one with AUTOPACK_URL"
            )
        yield client


def own_pid() -> int:
    """The process that leaves a record."""
    return os.getpid()
