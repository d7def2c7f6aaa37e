"""One git process, started through GitPython and read to its end within limits.

GitPython reads the environment when it is first imported and runs `git version`; it is therefore
imported by the first process that is started, in a worker thread, never on the event loop.
"""

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from io import FileIO

from services.git.failures import GitMissing, GitOutputTooLarge, GitTimedOut
from services.processes.stdin import input_file

STDERR_KEPT_BYTES = 64 * 1024
BLOCK_BYTES = 256 * 1024
ENDING_SECONDS = 2.0
"""What git has for taking its lock files along, those at a target on this machine too, before it is killed."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to run: the whole argument vector, its input (which is in memory twice), its limits.

    `kept_descriptors` stay open in the child, so that a lock held through one of them outlives us
    exactly as long as the child does.
    """

    argv: tuple[str, ...]
    folder: str
    stdin: bytes
    limit_seconds: float
    output_limit_bytes: int
    kept_descriptors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GitOutput:
    """What a git process left: its exit code, all of stdout, the end of stderr."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Child:
    """A process that a thread waits for and that another may kill at any time."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._signal: signal.Signals | None = None

    def perform(self, order: Order) -> GitOutput:
        """Run to the end; raises GitTimedOut, GitOutputTooLarge, GitMissing."""
        with input_file(order.stdin) if order.stdin else nullcontext() as stdin:
            process = self._start(order, stdin)
            try:
                stdout, stderr = _drain(process, order)
                if self._signal is not None:
                    self.kill()  # members of its group that did not heed it, and have not our pipes
                return GitOutput(process.wait(), stdout, stderr)
            except (GitTimedOut, GitOutputTooLarge):
                self.terminate()
                with suppress(GitTimedOut, GitOutputTooLarge):
                    _drain(process, replace(order, limit_seconds=ENDING_SECONDS))
                raise
            finally:
                self.kill()
                process.wait()
                _close_pipes(process)

    def terminate(self) -> None:
        """Have the process and its children end, whose lock files git then takes along."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process and its children; harmless when they have ended."""
        self._send(signal.SIGKILL)

    def _send(self, wanted: signal.Signals) -> None:
        with self._guard:
            self._signal = wanted
            if self._process is not None and self._process.returncode is None:
                _signal_group(self._process.pid, wanted)

    def _start(self, order: Order, stdin: int | None) -> "subprocess.Popen[bytes]":
        process = start_process(order, stdin)
        with self._guard:
            self._process = process
            if self._signal is not None:
                _signal_group(process.pid, self._signal)
        return process


def start_process(order: Order, stdin: int | None) -> "subprocess.Popen[bytes]":
    """Start the process in a session of its own, so that its children can be killed with it.

    `stdin` is a descriptor; without one there is nothing to read.
    """
    try:
        from git.cmd import Git  # here, for importing it runs `git version` (see above)
        from git.exc import GitCommandNotFound
    except ImportError as error:
        raise GitMissing(str(error)) from error
    try:
        handle = Git(order.folder).execute(
            list(order.argv),
            istream=None if stdin is None else FileIO(stdin, closefd=False),  # for 0 is nothing to GitPython
            as_process=True,
            shell=False,
            start_new_session=True,
            pass_fds=order.kept_descriptors,
        )
    except GitCommandNotFound as error:
        raise GitMissing(order.argv[0]) from error
    assert isinstance(handle, Git.AutoInterrupt)
    process = handle.proc
    assert process is not None
    handle.proc = None  # ours from here: GitPython would terminate it when the handle is collected
    return process


def _drain(process: "subprocess.Popen[bytes]", order: Order) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + order.limit_seconds
    stdout, stderr = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, stdout)
        selector.register(process.stderr, selectors.EVENT_READ, stderr)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise GitTimedOut(f"{order.limit_seconds:g} s: {' '.join(order.argv[-6:])}")
            for key, _ in ready:
                block = os.read(key.fd, BLOCK_BYTES)
                if not block:
                    selector.unregister(key.fileobj)
                key.data.extend(block)
            if len(stdout) > order.output_limit_bytes:
                raise GitOutputTooLarge(f"{order.output_limit_bytes} bytes")
            del stderr[:-STDERR_KEPT_BYTES]
    return bytes(stdout), bytes(stderr)


def _signal_group(process_id: int, wanted: signal.Signals) -> None:
    try:
        os.killpg(process_id, wanted)
    except ProcessLookupError:
        return


def _close_pipes(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def last_lines(output: bytes, limit_characters: int = 2000) -> str:
    """The end of what a process wrote, as printable text."""
    return output.decode("utf-8", "replace")[-limit_characters:].strip()


def joined(arguments: Sequence[bytes]) -> bytes:
    """The arguments as NUL-terminated input for a git process."""
    return b"".join(argument + b"\0" for argument in arguments)
