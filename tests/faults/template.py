"""A template process: it has imported the command `autopack`, and forks a child for each service to be started.

Importing costs a process about a second of processor time, a fork next to nothing, and a harness that kills
services a thousand times starts them as often. The child is a process of its own like any other: its session,
environment, folder and output are what it was given, and what it runs is the entry of the command `autopack`.

`python -m faults.template DESCRIPTOR` speaks over that socket, a JSON object a line: it reads what is to be
started, answers `{"started": pid}` in order, and tells `{"ended": pid, "status": N}` of each child. When the
other side has gone, it kills what it has started, and ends.
"""

import asyncio
import gc
import json
import os
import selectors
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

IMPORTED = (
    "services.cli.app",
    "services.cli.commands_of_operations",
    "services.cli.commands_of_services",
    "services.compose.supervising",
    "services.compose.working",
    "services.compose.reading",
    "services.compose.serving",
    "uvicorn.protocols.http.auto",
    "uvicorn.lifespan.off",
)
"""What a service comes to import, here or when it begins to serve."""
TESTS = Path(__file__).parents[1]


class TemplateEnded(Exception):
    """The template process has ended, and forks no more: what it said lies in its file."""


class Child:
    """A process that the template has started. Its status is an exit code, or a signal's number below zero."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; to one that has ended, none."""
        if not self.ended.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Template:
    """The harness's end: starts children, and is told when they end."""

    def __init__(self) -> None:
        self._children: dict[int, Child] = {}
        self._waiting: deque[asyncio.Future[Child]] = deque()
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process that forks."""
        assert self._process is not None, "the template has not been opened"
        return self._process.pid

    async def open(self, said: Path, marker: str) -> None:
        """Start the template, under the environment variable that marks it and what it forks.

        What it says itself goes to the file `said`.
        """
        ours, theirs = socket.socketpair()
        with theirs, said.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "faults.template", str(theirs.fileno())),
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(TESTS), marker: "1"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # or a signal to our group would end it before its children
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._reading = asyncio.create_task(self._read(reader))

    async def close(self) -> None:
        """End the template, and with it whatever it has started and that still runs."""
        if self._process is None or self._writer is None or self._reading is None:
            return
        self._writer.close()
        await self._process.wait()
        self._reading.cancel()
        await asyncio.wait({self._reading})

    async def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, output: Path
    ) -> Child:
        """Start `autopack` with these arguments, in a session of its own; output is appended to the file.

        Raises TemplateEnded.
        """
        if self._writer is None or self._reading is None or self._reading.done():
            raise TemplateEnded
        asked = {"arguments": [*arguments], "environment": {**environment}, "folder": str(folder)}
        started: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._waiting.append(started)
        self._writer.write(json.dumps({**asked, "output": str(output)}).encode() + b"\n")
        return await started

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            told = json.loads(line)
            if "started" in told:
                child = self._children[told["started"]] = Child(told["started"])
                self._hand_over(child, self._waiting.popleft())
            elif not (ended := self._children.pop(told["ended"]).ended).done():
                ended.set_result(told["status"])
        for future in (*self._waiting, *(child.ended for child in self._children.values())):
            if not future.done():
                future.set_exception(TemplateEnded())
                future.exception()  # told to whoever waits; nobody may

    def _hand_over(self, child: Child, started: "asyncio.Future[Child]") -> None:
        """To whoever waits for it; where nobody does any more, nobody would end it."""
        if started.done():
            child.send(signal.SIGKILL)
        else:
            started.set_result(child)


class _Forking:
    """The template's own loop: one thread, no event loop, nothing open that a child must not have."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._begun = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)

    def next_command(self) -> list[str]:
        """Fork as asked. Returns in a child, with its arguments; in the template it never does."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._control:
                    self._reap(key.fd, key.data)
                    continue
                for line in self._received():
                    if (arguments := self._fork(json.loads(line))) is not None:
                        return arguments

    def _received(self) -> list[bytes]:
        """The lines that have come whole. When nobody is there any more to send them, this ends everything."""
        if not (data := self._control.recv(1 << 16)):
            self._end_all()
        *lines, self._begun = (self._begun + data).split(b"\n")
        return lines

    def _fork(self, asked: Mapping[str, Any]) -> list[str] | None:
        pid = os.fork()
        if pid == 0:
            self._become(asked)
            return list(asked["arguments"])
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
        self._tell(started=pid)
        return None

    def _become(self, asked: Mapping[str, Any]) -> None:
        os.setsid()
        for key in [key for key in self._selector.get_map().values() if key.fileobj is not self._control]:
            os.close(key.fd)
        self._selector.close()
        self._control.close()
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.close(output)

    def _reap(self, descriptor: int, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(descriptor)
        os.close(descriptor)
        self._tell(ended=pid, status=os.waitstatus_to_exitcode(status))

    def _tell(self, **told: int) -> None:
        try:
            self._control.sendall(json.dumps(told).encode() + b"\n")
        except OSError:  # nobody is there any more to be told
            self._end_all()

    def _end_all(self) -> None:
        for key in self._selector.get_map().values():
            if key.data is not None:
                os.kill(key.data, signal.SIGKILL)
                os.waitpid(key.data, 0)
        os._exit(0)


def main() -> None:
    """Import everything, and then be whatever is asked for."""
    for name in IMPORTED:
        import_module(name)
    gc.freeze()  # what all children share is not to be copied for each of them
    from faults import changed
    from services.cli import main as autopack

    sys.argv = ["autopack", *_Forking(socket.socket(fileno=int(sys.argv[1]))).next_command()]
    if change := os.environ.pop(changed.VARIABLE, None):
        changed.apply(change)
    autopack()


if __name__ == "__main__":
    main()
