"""The reader of the machine: processes, and what lies in the homes of the services."""

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from faults.invariants.evidence import Leftovers

PROCESSES = Path("/proc")
WORK = ("work/*", "scratch/*", "mirrors/*/autopack/quarantines/*", "mirrors/.new-*")
"""What is made for one piece of work, in a home: clones, requests of agents, quarantines, half-made mirrors."""
LOCKS = ("mirrors/*/autopack/*.flock", "prepared/*.lock")
"""Files that stay, and that nobody may hold any more."""
_COMMAND_CHARACTERS = 200


def read(marker: str, homes: Sequence[Path], folders: Sequence[Path] = ()) -> Leftovers:
    """What is left of services with these homes, which worked in these folders besides."""
    return Leftovers(
        processes=list(_strays(marker, [*homes, *folders])),
        folders=[str(path) for home in homes for pattern in WORK for path in sorted(home.glob(pattern))],
        locks=[str(path) for home in homes for path in _held(home)],
    )


def _strays(marker: str, folders: Sequence[Path]) -> Iterator[str]:
    names = [os.fsencode(folder) for folder in folders]
    mine, own_mounts = _line_of(os.getpid()), os.readlink("/proc/self/ns/mnt")
    for process in PROCESSES.iterdir():
        if process.name.isdigit() and int(process.name) not in mine:
            tie = _tie(process, marker.encode(), names, own_mounts)
            if tie is not None:
                yield f"process {process.name} ({_command(process)}), which {tie},"


def _tie(process: Path, marker: bytes, names: Sequence[bytes], own_mounts: str) -> str | None:
    """What makes a process one of the world's. An agent has nothing of the services' environment, and not their
    view of the file system: the folder that its sandbox shows tells whose it is.
    """
    if any(word.partition(b"=")[0] == marker for word in _words(process / "environ")):
        return f"carries {marker.decode()}"
    if _is_in(_words(process / "cmdline"), names):
        return "names a folder of the world"
    if _is_in([_link(process / "cwd")], names):
        return "works in a folder of the world"
    if _link(process / "ns" / "mnt") not in (b"", own_mounts.encode()):
        mounted = [word for line in _words(process / "mountinfo") for word in line.split()]
        if _is_in(mounted, names):
            return "sees a folder of the world in its sandbox"
    return None


def _is_in(words: Iterable[bytes], names: Sequence[bytes]) -> bool:
    return any(name + b"/" in word + b"/" for word in words for name in names)


def _link(path: Path) -> bytes:
    """Where a link of a process points to; nothing, where the process has gone."""
    try:
        return os.fsencode(os.readlink(path))
    except OSError:
        return b""


def _words(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        return []


def _command(process: Path) -> str:
    said = b" ".join(_words(process / "cmdline")).decode("utf-8", "replace").strip()
    return said[:_COMMAND_CHARACTERS] or "without a command line"


def _line_of(pid: int) -> list[int]:
    """A process and those that it descends from."""
    line = []
    while pid > 1 and pid not in line:
        line.append(pid)
        try:
            stat = (PROCESSES / str(pid) / "stat").read_text("utf-8", "replace")
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
    return line


def _held(home: Path) -> Iterator[Path]:
    """Lock files that some process holds: they cannot be had at once."""
    for pattern in LOCKS:
        for path in sorted(home.glob(pattern)):
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield path
