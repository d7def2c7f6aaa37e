"""The reader of the machine: processes, and what lies in the homes of the services."""

import asyncio
import fcntl
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from faults.invariants.evidence import Leftovers
from faults.invariants.homes import kind_of_what_is_kept, left_in
from faults.observer import WORKERS
from faults.world import World

PROCESSES = Path("/proc")
LOCKS = ("mirrors/*/autopack/*.flock", "prepared/*.lock", "collection.flock")
"""Files that stay, and that nobody may hold any more."""
WORK = re.compile(r"work/|scratch/|mirrors/\.new-|mirrors/[^/]+/autopack/quarantines/")
"""What is made for one piece of work: clones, requests of agents, half-made mirrors, quarantines."""
WORKING = frozenset(WORKERS.values())
MAKERS = {"work/": frozenset({"builder", "verifier"})}
"""Who makes some of it. All else any of those makes who work."""
AT_ONCE = 4
"""Pieces of work that a service has in hand, and leaves where it is killed."""
DYING_SECONDS = 10.0
LOOK_SECONDS = 0.1
_COMMAND_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Stray:
    """A process of the world that should have ended; `is_half_made` is that of a sandbox that came never to be."""

    told: str
    is_half_made: bool

    def __str__(self) -> str:
        return self.told


def read(world: World) -> Leftovers:
    """What is left of a world in which whoever collects has done so."""
    return Leftovers(
        processes=[str(stray) for stray in _strays(world)],
        files=[path for home in world.homes for path in _files(home, len(world.killed))],
        locks=[str(path) for home in world.homes for path in _held(home)],
        early=tuple(world.left),
    )


async def early(world: World, apart_from: int) -> list[str]:
    """What is left too much when the services have just ended, and nobody has collected anything.

    No process but that one, and one half-made sandbox a kill. Of work only what those had in hand who were killed;
    where nobody was, nothing at all.
    """
    give_up_at = monotonic() + DYING_SECONDS
    while (strays := await asyncio.to_thread(_too_many, world, apart_from)) and monotonic() < give_up_at:
        await asyncio.sleep(LOOK_SECONDS)  # what a sandbox held ends a moment after it
    return [*map(str, strays), *await asyncio.to_thread(_work_left, world)]


def _too_many(world: World, apart_from: int) -> list[Stray]:
    strays = list(_strays(world, apart_from))
    half_made = [stray for stray in strays if stray.is_half_made]
    return [stray for stray in strays if not stray.is_half_made] + half_made[len(world.killed) :]


def _work_left(world: World) -> Iterator[str]:
    for home in world.homes:
        names = [path.relative_to(home).as_posix() for path in left_in(home)]
        if not world.killed:
            yield from (f"{name} is left, and nobody was killed" for name in names)
            continue
        kinds = Counter(found.group() for name in names if (found := WORK.match(name)) is not None)
        for kind, count in kinds.items():
            killed = sum(service in MAKERS.get(kind, WORKING) for service in world.killed)
            if count > AT_ONCE * killed:
                yield f"{count} of {kind} are left by {killed} that were killed"


def _files(home: Path, killed: int) -> Iterator[str]:
    """What has no name that stays. Of what may be another's at work a file of each kind is kept for each kill."""
    kept: Counter[str] = Counter()
    for path in left_in(home):
        if (kind := kind_of_what_is_kept(home, path)) is None:
            yield str(path)
            continue
        kept[kind] += 1
        if kept[kind] > killed:
            yield str(path)


def _strays(world: World, apart_from: int | None = None) -> Iterator[Stray]:
    names = [os.fsencode(folder) for folder in (*world.homes, *world.repositories, world.agent_starts)]
    mine, own_mounts = {*_line_of(os.getpid()), apart_from}, os.readlink("/proc/self/ns/mnt")
    for process in PROCESSES.iterdir():
        if process.name.isdigit() and int(process.name) not in mine:
            tie = _tie(process, world.marker.encode(), names, own_mounts)
            if tie is not None:
                told = f"process {process.name} ({_command(process)}), which {tie},"
                yield Stray(told, _is_half_made(process))


def _is_half_made(process: Path) -> bool:
    """Whether it makes a sandbox, and has begun nothing in it."""
    begun = b"".join(word for file in process.glob("task/*/children") for word in _words(file))
    return not begun and any(word.endswith(b"/bwrap") for word in _words(process / "cmdline")[:1])


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
