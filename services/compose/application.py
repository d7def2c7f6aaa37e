"""What is put together: the services of one process, and what they share."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from services.artifacts import FileArtifacts
from services.awaiting import Awaited
from services.collection.collector import Collector, Tables
from services.git.command import GitCommand
from services.log_at_hand import LogAtHand
from services.readiness import show_readiness
from services.servers import Servers
from services.settings import Settings
from services.status import ServiceStatus


class Service(StrEnum):
    """The services, by the names that operators use."""

    SUPERVISOR = "supervisor"
    BUILDER = "builder"
    AUDITOR = "auditor"
    APPLIER = "applier"
    VERIFIER = "verifier"
    PROJECTOR = "projector"
    API = "api"


@dataclass(frozen=True, slots=True)
class Commands:
    """Agents given on the command line, for an embedded service only; they stand in no event."""

    builder: tuple[str, ...] | None = None
    auditor: tuple[str, ...] | None = None


Run = Callable[[asyncio.Event], Awaitable[None]]


@dataclass(slots=True)
class Application:
    """Services of one process, ready to run."""

    settings: Settings
    log: LogAtHand
    servers: Servers
    store: FileArtifacts
    statuses: dict[str, ServiceStatus] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    awaited: list[Awaited] = field(default_factory=list)
    tables: Tables | None = None

    def add(self, service: Service, make: Callable[[ServiceStatus], Run], *needed: Awaited) -> None:
        """Add a service; `make` is given the status that it reports to. It begins when what it needs is open.

        The API begins at once: it is who says what is waited for.
        """
        status = self.statuses[service] = ServiceStatus(service)
        for server in needed:
            server.hinders(status)
        gates = () if service is Service.API else needed
        self.runs[service] = _begun(make(status), gates)

    async def run(self, stop: asyncio.Event) -> None:
        """Run every service until `stop` is set and each has drained. The first that fails ends all.

        Raises, in a group, LogUnfit and DatabaseUnfit too, where it has to wait for servers.
        """
        async with asyncio.TaskGroup() as group:
            for server in self.awaited:
                group.create_task(server.open_patiently(stop), name="waiting")
            for name, run in self.runs.items():
                group.create_task(_running(run, stop), name=name)
            showing = show_readiness(self.settings.home_folder, self.statuses.values(), stop)
            group.create_task(showing, name="readiness")
            collector = Collector(self.settings, GitCommand(), self.store, self.tables)
            group.create_task(collector.run(stop), name="collection")


async def _running(run: Run, stop: asyncio.Event) -> None:
    await run(stop)


def _begun(run: Run, needed: Sequence[Awaited]) -> Run:
    async def run_later(stop: asyncio.Event) -> None:
        for server in needed:
            await server.opened(stop)
        if not stop.is_set():
            await run(stop)

    return run_later
