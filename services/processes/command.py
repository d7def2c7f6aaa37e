"""What to run, and how it ended: values alone."""

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from services.processes.output import NOTHING_CAPTURED, Captured

DEFAULT_OUTPUT_CAP_BYTES = 1 << 20


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to the group that the child leads; a group that is gone is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


@dataclass(frozen=True, slots=True)
class Command:
    """A child process to run: nothing is inherited but what stands here.

    `stdin` is what it reads, or an open descriptor of that.
    `limit_seconds` bounds the whole, `idle_seconds` the time without any output; None means no such limit.
    `on_line` is told lines of output as they come (not all of a flood) and must not raise.
    `send_signal` reaches the child and its children, given the child's process id.
    """

    argv: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    stdin: bytes | int = b""
    limit_seconds: float | None = None
    idle_seconds: float | None = None
    grace_seconds: float = 5.0
    output_cap_bytes: int = DEFAULT_OUTPUT_CAP_BYTES
    secrets: tuple[str, ...] = field(default=(), repr=False)
    on_line: Callable[[str], None] | None = None
    pass_descriptors: tuple[int, ...] = ()
    send_signal: Callable[[int, signal.Signals], None] = signal_group


class Ending(StrEnum):
    """How a child came to its end. Only of EXITED does the exit code say anything.

    A child that was told to stop may well answer with 0 as if it had finished.
    """

    EXITED = "exited"
    TIMED_OUT = "timed_out"
    IDLE = "idle"
    STOPPED = "stopped"
    FAILED_TO_START = "failed_to_start"


@dataclass(frozen=True, slots=True)
class Completed:
    """A child that is gone and reaped. `output` is both streams in the order in which they came."""

    ending: Ending
    reason: str
    exit_code: int | None = None
    stdout: Captured = NOTHING_CAPTURED
    stderr: Captured = NOTHING_CAPTURED
    output: Captured = NOTHING_CAPTURED
    duration_seconds: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Say whether it ended by itself with exit code 0."""
        return self.ending is Ending.EXITED and self.exit_code == 0
