"""The services of a world: processes of their own, started again whenever they die."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from events.failpoints import STOP
from faults import changed
from faults.template import Child, Template

SERVICES = ("supervisor", "builder", "auditor", "applier", "verifier", "projector", "api")
STOPPING_SECONDS = 60.0
COMMAND_SECONDS = 300.0
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
    """Keeps a process of each service alive, and of each that has joined. Processes have names: that of their
    service for the first, and `builder-2` for the second builder.

    Each failpoint of a service is died at, or stopped at, as often as it is given. What is started is changed as
    `change` names it (`faults.changed`), if it does.
    """

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
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()
        self._leaving: set[str] = set()
        self._is_stopping = False
        self._deaf: set[Child] = set()
        self._killed: Counter[str] = Counter()
        self.change = ""
        self.kills: Counter[str] = Counter()
        self._stopped: set[str] = set()
        self.unexpected: list[UnexpectedEnd] = []
        self.stuck: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Fleet"]:
        """All services, as long as the block lasts; then they are told to stop, and have stopped.

        Raises, in a group, ServiceUnfit and TemplateEnded.
        """
        async with self._group:
            for service in SERVICES:
                self._begin(service)
            try:
                yield self
            finally:
                self._is_stopping = True
                for number in (signal.SIGCONT, signal.SIGTERM):
                    self._send_all(number)
                _, stuck = await asyncio.wait(self._keeping.values(), timeout=STOPPING_SECONDS)
                self._send_all(signal.SIGKILL)
                self.stuck += sorted(task.get_name() for task in stuck)

    def _begin(self, name: str) -> None:
        self._keeping[name] = self._group.create_task(self._keep(name), name=name)

    def _send_all(self, number: signal.Signals) -> None:
        for name in self._children:
            self.send(name, number)

    def join(self, service: str) -> str:
        """Have one more process of a service; its name."""
        name = f"{service}-{1 + sum(service_of(other) == service for other in self._keeping)}"
        self._begin(name)
        return name

    async def leave(self, name: str, by: signal.Signals = signal.SIGTERM) -> None:
        """Have one process end for good: by SIGTERM it drains, by SIGKILL it does not. One that does not end is
        stuck, and killed.
        """
        self._leaving.add(name)
        self.send(name, by)
        _, running = await asyncio.wait({self._keeping[name]}, timeout=STOPPING_SECONDS)
        if running:
            self.stuck.append(name)
            self.send(name, signal.SIGKILL)
            await asyncio.wait(running)

    def send(self, name: str, number: signal.Signals) -> bool:
        """Send a signal to one process; False where it does not run at this moment."""
        child = self._children.get(name)
        if child is None or child.ended.done():
            return False
        if number is signal.SIGKILL:
            self.kills[name] += 1
        if number is signal.SIGSTOP:
            self._stopped.add(service_of(name))
        if number is signal.SIGTERM and not _hears_sigterm(child.pid):
            self._deaf.add(child)
        child.send(number)
        return True

    def stopped(self) -> list[str]:
        """The processes that have been stopped in their tracks, and not continued."""
        running = {name: child.pid for name, child in self._children.items() if not child.ended.done()}
        return sorted(name for name, pid in running.items() if _is_stopped(pid))

    def kill(self, service: str) -> bool:
        """SIGKILL a service; False where it does not run at this moment."""
        return self.send(service, signal.SIGKILL)

    def process_ids(self) -> Mapping[str, int]:
        """The process of each service that runs at this moment."""
        return {service: child.pid for service, child in self._children.items() if not child.ended.done()}

    def ends_by_kill(self) -> list[str]:
        """The service of each process that ended by SIGKILL."""
        return sorted(self._killed.elements())

    def stopped_services(self) -> list[str]:
        """The services of which a process was stopped in its tracks, by us or by itself."""
        own = {service for service, point in self.deaths() if point.endswith(STOP)}
        return sorted(self._stopped | own)

    async def clear_leftovers(self) -> None:
        """Have removed what those who were killed left in the home, as an operator has it removed."""
        status, said = await self.command("gc", "--older-than-hours", "0")
        if status != 0:
            self.unexpected.append(UnexpectedEnd("gc", status, said))

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run a command to its end: its exit code, and what it has said. One that takes too long is killed."""
        name = "-".join(word for word in arguments if word.isalpha())
        self._output(name).unlink(missing_ok=True)
        child = await self._template.start(arguments, self._own_environment(), self._folder, self._output(name))
        _, running = await asyncio.wait({child.ended}, timeout=COMMAND_SECONDS)
        if running:
            child.send(signal.SIGKILL)
        return await child.ended, self._said(name)

    def _own_environment(self) -> dict[str, str]:
        return {**self._environment, **({changed.VARIABLE: self.change} if self.change else {})}

    def output_of(self, name: str) -> Path:
        """The file with all that a process, and whoever had its name before, has said."""
        return self._output(name)

    def said(self, service: str) -> str:
        """The end of what a service has said."""
        return self._said(service)

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
        return "\n".join(f"--- {name}\n{self._said(name)}" for name in self._keeping)

    async def _keep(self, name: str) -> None:
        while not self._is_to_end(name):
            child = await self._started(name)
            if self._is_to_end(name):
                self.send(name, signal.SIGTERM)
            status = await child.ended
            if not self._is_expected(name, child, status):
                self.unexpected.append(UnexpectedEnd(name, status, self._said(name)))
            if sum(end.service == name for end in self.unexpected) > MOST_UNEXPECTED:
                raise ServiceUnfit(str(self.unexpected[-1]))

    def _is_to_end(self, name: str) -> bool:
        return self._is_stopping or name in self._leaving

    def _is_expected(self, name: str, child: Child, status: int) -> bool:
        """Whoever was told to stop ends in order, or by the SIGTERM itself where it could not hear that yet.

        By SIGKILL no more end than were killed, or died at a failpoint: memory that ran out kills as well.
        """
        if status == -signal.SIGKILL:
            service = service_of(name)
            self._killed[service] += 1
            return self._killed[service] <= self._sent_to_death(service)
        orderly = (0, -signal.SIGTERM) if child in self._deaf else (0,)
        return status in orderly and self._is_to_end(name)

    def _sent_to_death(self, service: str) -> int:
        """How often it was killed by us, and by itself."""
        kills = sum(count for name, count in self.kills.items() if service_of(name) == service)
        deaths = self.deaths().items()
        return kills + sum(n for (one, point), n in deaths if one == service and not point.endswith(STOP))

    async def _started(self, name: str) -> Child:
        environment, service = self._own_environment(), service_of(name)
        if names := self._failpoints.get(service):
            environment["AUTOPACK_FAILPOINTS"] = ",".join(names)
            environment["AUTOPACK_FAILPOINTS_FOLDER"] = str(self._folder / "failpoints" / service)
        output = self._output(name)
        self._children[name] = await self._template.start(("serve", service), environment, self._folder, output)
        return self._children[name]

    def _output(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _said(self, name: str) -> str:
        file = self._output(name)
        return file.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace") if file.exists() else ""


def service_of(name: str) -> str:
    """The service of a process."""
    return name.partition("-")[0]


def _hears_sigterm(pid: int) -> bool:
    """Whether a process has said what it does at SIGTERM; before that it ends at once, as any process does."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def _is_stopped(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False
