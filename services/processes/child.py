"""A running child as the event loop sees it: chunks of output, the end of its pipes, its own end."""

import asyncio
import time
from typing import cast

from services.processes.command import Command
from services.processes.output import Capture, Captured, Lines
from services.processes.redaction import Redactor

STDOUT, STDERR = 1, 2


class _Stream:
    """One pipe: what comes is redacted, kept up to the cap, and shown."""

    def __init__(self, command: Command, both: Capture):
        self.total_bytes = 0
        self._redactor = Redactor(command.secrets)
        self._sinks = [Capture(command.output_cap_bytes), both]
        self._lines = Lines(command.on_line) if command.on_line else None

    def feed(self, chunk: bytes) -> None:
        self.total_bytes += len(chunk)
        self._pass_on(self._redactor.feed(chunk))

    def flush(self) -> None:
        self._pass_on(self._redactor.flush())
        if self._lines is not None:
            self._lines.flush()

    def captured(self) -> Captured:
        return self._sinks[0].captured(self.total_bytes)

    def _pass_on(self, clean: bytes) -> None:
        for sink in self._sinks:
            sink.feed(clean)
        if self._lines is not None:
            self._lines.feed(clean)


class Child(asyncio.SubprocessProtocol):
    """Takes output in chunks as large as the pipe gives them, and keeps little of it.

    A protocol and not a stream reader: that one stops at 64 KiB without a newline, and here nothing that
    a child prints may ever wait in memory for somebody to read it.
    """

    def __init__(self, command: Command):
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.drained: asyncio.Future[None] = loop.create_future()
        self.heard_at = time.monotonic()
        self._both = Capture(command.output_cap_bytes)
        self._streams = {STDOUT: _Stream(command, self._both), STDERR: _Stream(command, self._both)}
        self._open = {STDOUT, STDERR}
        self._transport: asyncio.SubprocessTransport | None = None

    @property
    def transport(self) -> asyncio.SubprocessTransport:
        """Give the transport, which is there once the child has started."""
        if self._transport is None:
            raise RuntimeError("the child has not started")
        return self._transport

    @property
    def pid(self) -> int:
        """Give the process id, which is that of its group as well."""
        return self.transport.get_pid()

    @property
    def exit_code(self) -> int | None:
        """Give the exit code, negative for a signal; None while it runs."""
        return self.transport.get_returncode()

    def close(self) -> None:
        """Let go of the pipes, whoever still holds their other ends."""
        for descriptor in list(self._open):
            self._end(descriptor)
        self.transport.close()

    def captured(self) -> tuple[Captured, Captured, Captured]:
        """Give stdout, stderr, and both in the order in which they came."""
        stdout, stderr = self._streams[STDOUT], self._streams[STDERR]
        both = self._both.captured(stdout.total_bytes + stderr.total_bytes)
        return stdout.captured(), stderr.captured(), both

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop when the child has started."""
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Called by the event loop with each chunk."""
        self.heard_at = time.monotonic()
        if fd in self._open:
            self._streams[fd].feed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Called by the event loop at the end of a pipe."""
        if fd in self._open:
            self._end(fd)

    def process_exited(self) -> None:
        """Called by the event loop when the child has been reaped."""
        if not self.exited.done():
            self.exited.set_result(None)

    def _end(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        self._streams[descriptor].flush()
        if not self._open and not self.drained.done():
            self.drained.set_result(None)
