"""The services of a world: processes of their own, started again whenever they die."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from faults.template import Child, Template

SERVICES = ("supervisor", "builder", "auditor", "applier", "verifier", "projector", "api")
STOPPING_SECONDS = 60.0
MOST_UNEXPECTED = 3
TAIL_BYTES = 3_000


@dataclass(frozen=True)
class UnexpectedEnd:
    """A service that ended though nobody killed it. `said` is the end of its output."""

    service: str
    status: int
    said: str

    def __str__(self) -> str:
        return f"{self.service} ended with {self.status}:\n{self.said}"


class ServiceUnfit(Exception):
    """A service ends again and again, though nobody kills it."""


class Fleet:
    """Keeps one process of each service alive. Each failpoint of a service is died at as often as it is given."""

    def __init__(
        self,
        template: Template,
        environment: Mapping[str, str],
        folder: Path,
        failpoints: Mapping[str, Sequence[str]],
    ) -> None:
        self._template = template
        self._environment = environment
        self._folder = folder
        self._failpoints = failpoints
        self._children: dict[str, Child] = {}
        self._is_stopping = False
        self.kills: Counter[str] = Counter()
        self.unexpected: list[UnexpectedEnd] = []
        self.stuck: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Fleet"]:
        """All services, as long as the block lasts; then they are told to stop, and have stopped.

        Raises, in a group, ServiceUnfit and TemplateEnded.
        """
        async with asyncio.TaskGroup() as group:
            keeping = [group.create_task(self._keep(service), name=service) for service in SERVICES]
            try:
                yield self
            finally:
                self._is_stopping = True
                self._send_all(signal.SIGTERM)
                _, stuck = await asyncio.wait(keeping, timeout=STOPPING_SECONDS)
                self._send_all(signal.SIGKILL)
                self.stuck = sorted(task.get_name() for task in stuck)

    def _send_all(self, number: signal.Signals) -> None:
        for child in self._children.values():
            child.send(number)

    def kill(self, service: str) -> bool:
        """SIGKILL a service; False where it does not run at this moment."""
        child = self._children.get(service)
        if child is None or child.ended.done():
            return False
        child.send(signal.SIGKILL)
        self.kills[service] += 1
        return True

    async def clear_leftovers(self) -> None:
        """Have removed what those who were killed left in the home, as an operator has it removed."""
        output = self._output("gc")
        child = await self._template.start(
            ("gc", "--older-than-hours", "0"), self._environment, self._folder, output
        )
        if (status := await child.ended) != 0:
            self.unexpected.append(UnexpectedEnd("gc", status, self._said("gc")))

    def deaths(self) -> Counter[tuple[str, str]]:
        """How often each service has died at each of its failpoints."""
        folder = self._folder / "failpoints"
        return Counter((file.parent.name, file.stem) for file in folder.glob("*/*"))

    def missing(self) -> list[tuple[str, str]]:
        """The deaths that have not been died yet."""
        wanted = Counter((service, name) for service, names in self._failpoints.items() for name in names)
        return sorted((wanted - self.deaths()).elements())

    def tails(self) -> str:
        """The end of what each service has said."""
        return "\n".join(f"--- {service}\n{self._said(service)}" for service in SERVICES)

    async def _keep(self, service: str) -> None:
        while not self._is_stopping:
            child = await self._started(service)
            if self._is_stopping:
                child.send(signal.SIGTERM)
            status = await child.ended
            if status not in self._expected():
                self.unexpected.append(UnexpectedEnd(service, status, self._said(service)))
            if sum(end.service == service for end in self.unexpected) > MOST_UNEXPECTED:
                raise ServiceUnfit(str(self.unexpected[-1]))

    def _expected(self) -> set[int]:
        """A SIGTERM that comes before a service can hear it ends it as well."""
        stopped = {0, -signal.SIGTERM} if self._is_stopping else set()
        return stopped | {-signal.SIGKILL}

    async def _started(self, service: str) -> Child:
        environment = dict(self._environment)
        if names := self._failpoints.get(service):
            environment["AUTOPACK_FAILPOINTS"] = ",".join(names)
            environment["AUTOPACK_FAILPOINTS_FOLDER"] = str(self._folder / "failpoints" / service)
        output = self._output(service)
        self._children[service] = await self._template.start(("serve", service), environment, self._folder, output)
        return self._children[service]

    def _output(self, service: str) -> Path:
        return self._folder / f"{service}.log"

    def _said(self, service: str) -> str:
        file = self._output(service)
        return file.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace") if file.exists() else ""
