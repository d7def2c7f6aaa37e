"""Sandboxes that never came to be: what bubblewrap leaves where it is killed in the midst of making one.

Between making the sandbox's first process and telling it to go on, bubblewrap has not tied the two together yet.
Where both we and bubblewrap are killed in that moment, that process waits for ever. It runs nothing, and holds
what it was given.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

YOUNG_SECONDS = 10.0
"""A sandbox that is being made has a process without children as well, for some milliseconds."""


def end_orphans(home: Path) -> list[int]:
    """End those that were begun for work in a home; their process ids."""
    found = list(_orphans(home))
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return found


def _orphans(home: Path) -> Iterator[int]:
    named = f"{home}{os.sep}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            is_one = words[0].endswith(b"/bwrap") and any(word.startswith(named) for word in words)
            if is_one and not _children(folder) and _age_seconds(folder) > YOUNG_SECONDS:
                yield int(folder.name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is not ours


def _children(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("task/*/children"))


def _age_seconds(folder: Path) -> float:
    """Since it began, by its 22nd field (proc_pid_stat(5)): ticks after the machine's start."""
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
