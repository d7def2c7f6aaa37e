"""Processes that belong to a folder of tests, and outlive them."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

LOOK_SECONDS = 0.2


def processes_left(folder: Path, patience_seconds: float) -> list[str]:
    """Who works in the folder, or has a file of it in the command line, after so long: number and command line."""
    give_up_at = time.monotonic() + patience_seconds
    while (left := list(_working_in(folder))) and time.monotonic() < give_up_at:
        time.sleep(LOOK_SECONDS)
    return left


def _working_in(folder: Path) -> Iterator[str]:
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words, place = process.info["cmdline"] or (), process.info["cwd"] or ""
        if any(f"{folder}/" in f"{word}/" for word in (*words, place)) and not _is_half_a_sandbox(process):
            yield f"{process.pid} {' '.join(words)}"


def _is_half_a_sandbox(process: psutil.Process) -> bool:
    """Whether bubblewrap was killed between its two processes: the second waits for the first for ever, and has
    begun nothing. Then it is killed as well.
    """
    with suppress(psutil.NoSuchProcess):
        parent = process.parent()
        if process.name() == "bwrap" and not process.children() and (parent is None or parent.name() != "bwrap"):
            process.kill()
            return True
    return False
