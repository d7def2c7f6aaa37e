"""Processes that belong to a folder of tests, and outlive them."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from services.sandbox import end_orphans

LOOK_SECONDS = 0.2


def processes_left(folder: Path, patience_seconds: float) -> list[str]:
    """Who works in the folder, or has a file of it in the command line, after so long: number and command line.

    Sandboxes that were left half made are ended, as the services' own collection does.
    """
    give_up_at = time.monotonic() + patience_seconds
    while True:
        end_orphans(folder)
        left = list(_working_in(folder))
        if not left or time.monotonic() >= give_up_at:
            return left
        time.sleep(LOOK_SECONDS)


def _working_in(folder: Path) -> Iterator[str]:
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words, place = process.info["cmdline"] or (), process.info["cwd"] or ""
        if any(f"{folder}/" in f"{word}/" for word in (*words, place)):
            yield f"{process.pid} {' '.join(words)}"
