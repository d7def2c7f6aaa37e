"""Sandboxes that never came to be: what bubblewrap leaves where it is killed in the midst of making one.

Between making the sandbox's first process and telling it to go on, bubblewrap has not tied the two together yet.
Where both we and bubblewrap are killed in that moment, that process waits for ever. It runs nothing, and holds
what it was given.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


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
            words = _words(folder)
            is_one = _is_bubblewrap(words) and any(word.startswith(named) for word in words)
            if is_one and not _children(folder) and _is_left(folder):
                yield int(folder.name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is not ours


def _words(folder: Path) -> list[bytes]:
    return (folder / "cmdline").read_bytes().split(b"\0")


def _is_bubblewrap(words: list[bytes]) -> bool:
    return words[0].endswith(b"/bwrap")


def _children(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("task/*/children"))


def _is_left(folder: Path) -> bool:
    """Whether it is the first process of a sandbox, in a namespace of its own, and who made that is gone."""
    status, own = _status(folder), _status(folder.parent / "self")
    if len(status["NSpid"].split()) == len(own["NSpid"].split()):
        return False
    try:
        return not _is_bubblewrap(_words(folder.parent / status["PPid"].strip()))
    except FileNotFoundError:
        return True


def _status(folder: Path) -> dict[str, str]:
    """What proc_pid_status(5) tells of a process."""
    lines = (folder / "status").read_text().splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}
