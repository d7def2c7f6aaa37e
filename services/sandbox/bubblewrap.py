"""The argument list of bubblewrap for a sandbox: a pure function.

The sandbox begins empty, and what it shows is added: a list of what to hide would always lack something.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.sandbox.specification import HOME, Limits, Mount, SandboxSpec

SHARED_MEMORY_BYTES = 512 << 20
SCRATCH_FOLDERS = (Path("/tmp"), Path("/var/tmp"), HOME)
PREPARED = (Path("/"), Path("/proc"), Path("/dev"), *SCRATCH_FOLDERS)


def bubblewrap_arguments(spec: SandboxSpec) -> tuple[str, ...]:
    """Give the whole command line, bubblewrap's own path first.

    The environment is not in it: command lines are for all to read, and it holds secrets.
    """
    return (
        str(spec.tools.bubblewrap),
        *_isolation(spec),
        *_foundation(spec),
        *_mounting(spec),
        *("--remount-ro", "/", "--chdir", "/", "--"),
        # The pipes are root's: whoever writes to /dev/stderr opens them anew, and must be allowed to.
        *(spec.lifeline.arguments(opens_output=spec.uid is not None) if spec.lifeline else ()),
        *_limiter(str(spec.tools.prlimit), spec.limits),
        *_user_change(spec),
        # Entered as the user who owns it: root without its privileges may not be allowed to.
        *("/bin/sh", "-c", 'cd -- "$0" && exec "$@"', str(spec.place)),
        *spec.argv,
    )


def _isolation(spec: SandboxSpec) -> Iterator[str]:
    yield from ("--unshare-pid", "--die-with-parent", "--new-session")
    yield from ("--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
    if not spec.network:
        yield "--unshare-net"
    yield from ("--cap-drop", "ALL")
    # Root keeps the two that let it become somebody else, until it has done so.
    if spec.uid is not None:
        yield from ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
    if spec.info_descriptor is not None:
        yield from ("--info-fd", str(spec.info_descriptor))


def _foundation(spec: SandboxSpec) -> Iterator[str]:
    for path, target in spec.system.links.items():
        yield from ("--symlink", target, str(path))
    yield from ("--proc", "/proc", "--dev", "/dev")
    yield from _scratch(Path("/dev/shm"), SHARED_MEMORY_BYTES)
    files = spec.data_files or {}
    yield from _folders(_above(*SCRATCH_FOLDERS, *files))
    for folder in SCRATCH_FOLDERS:
        yield from _scratch(folder, spec.limits.scratch_bytes)
    for path, descriptor in files.items():
        yield from ("--perms", "0644", "--file", str(descriptor), str(path))


def _scratch(folder: Path, size_bytes: int) -> Iterator[str]:
    yield from ("--perms", "1777", "--size", str(size_bytes), "--tmpfs", str(folder))


@dataclass(frozen=True, slots=True)
class _Place:
    """One thing at one place; `option` says how it is put there."""

    option: str
    destination: Path
    source: Path | None = None

    def arguments(self) -> Iterator[str]:
        if self.source is None:
            yield from ("--perms", "0755", self.option, str(self.destination))
        else:
            yield from (self.option, str(self.source), str(self.destination))


def _mounting(spec: SandboxSpec) -> Iterator[str]:
    """Put every place where it shows, each folder above them made once: bubblewrap takes 9,000 arguments.

    What is lent within the work folder may come in a thousand places, and finds its way there made already.
    """
    # What the foundation has made does not count: a place may lie over it.
    made: set[Path] = set()
    for place in _places(spec):
        above = [path for path in _above(place.destination) if path not in made]
        made.update(above)
        yield from _folders(path for path in above if not path.is_relative_to(spec.place))
        yield from place.arguments()


def _places(spec: SandboxSpec) -> list[_Place]:
    """List what is mounted, outermost first, so that what is said of an inner folder holds."""
    shown = [*(Mount.in_place(path) for path in spec.system.folders), *spec.readonly]
    readonly = [_Place("--ro-bind", mount.destination, mount.source) for mount in shown]
    hidden = [
        _Place("--tmpfs", path)
        for path in spec.hidden_paths
        if any(path.is_relative_to(mount.destination) for mount in shown)
    ]
    writable = [_Place("--bind", path, path) for path in spec.writable_paths]
    writable.append(_Place("--bind", spec.place, spec.work_folder))
    # At the same place the later kind wins: hidden over read-only, writable over both.
    unique = {place.destination: place for place in (*readonly, *hidden, *writable)}
    return sorted(unique.values(), key=lambda place: (len(place.destination.parts), place.destination))


def _above(*paths: Path) -> Iterator[Path]:
    """The folders above places, outermost first, that are not there anyway."""
    for parent in dict.fromkeys(parent for path in paths for parent in reversed(path.parents)):
        if parent not in PREPARED:
            yield parent


def _folders(paths: Iterable[Path]) -> Iterator[str]:
    """Make folders, readable by all: bubblewrap's own are closed to another user."""
    for path in paths:
        yield from ("--perms", "0755", "--dir", str(path))


def _limiter(prlimit: str, limits: Limits) -> Iterator[str]:
    yield prlimit
    yield f"--nproc={limits.processes}"
    yield f"--nofile={limits.open_files}"
    yield f"--fsize={limits.file_size_bytes}"
    yield "--core=0"
    if limits.address_space_bytes is not None:
        yield f"--as={limits.address_space_bytes}"
    yield "--"


def _user_change(spec: SandboxSpec) -> Iterator[str]:
    """Become another user: for root no limit on processes holds, and files of root's are open."""
    if spec.uid is None:
        return
    yield from (str(spec.tools.setpriv), "--reuid", str(spec.uid), "--regid", str(spec.uid))
    yield from ("--clear-groups", "--inh-caps=-all", "--")
