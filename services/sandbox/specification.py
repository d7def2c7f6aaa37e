"""What a sandbox shows and allows, as values."""

import resource
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from services.sandbox.lifeline import Lifeline

HOME = Path("/home/sandbox")
WORKSPACE = Path("/autopack/workspace")
"""Where every clone and every candidate shows, so that what was prepared in one place works in all."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the machine, and where it shows in the sandbox."""

    source: Path
    destination: Path

    @classmethod
    def in_place(cls, path: Path) -> "Mount":
        """Show it where it is."""
        return cls(path, path)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sandbox may use. `scratch_bytes` bounds each of /tmp, /var/tmp and the home, which are in memory.

    `processes` counts threads as well.
    """

    processes: int = 2048
    open_files: int = 4096
    file_size_bytes: int = 4 << 30
    scratch_bytes: int = 1 << 30
    address_space_bytes: int | None = None

    def within_ours(self) -> "Limits":
        """Lower each limit to our own hard one, which nobody but root can exceed."""
        return replace(
            self,
            processes=_lesser(self.processes, resource.RLIMIT_NPROC),
            open_files=_lesser(self.open_files, resource.RLIMIT_NOFILE),
            file_size_bytes=_lesser(self.file_size_bytes, resource.RLIMIT_FSIZE),
        )


def _lesser(wanted: int, kind: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class SystemLayout:
    """The parts of the machine that every sandbox shows read-only, the links at its root, and small files.

    Those are copied into each sandbox as they are when it is made: to mount a file takes ten times as long.
    """

    folders: tuple[Path, ...]
    links: Mapping[Path, str]
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs that set a sandbox up; `setpriv` is needed by root alone."""

    bubblewrap: Path
    prlimit: Path
    setpriv: Path | None = None


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One sandbox, with everything decided: `work_folder` shows at `shown_at`, None meaning where it lies.

    `uid` is the user (and group) to become inside, None to stay what we are. `data_files` are open
    descriptors whose content is copied to a file there; `info_descriptor` is told the process id of the
    inner init; with a `lifeline` the command waits for our word, and may open the pipes that it writes to.
    """

    tools: Tools
    system: SystemLayout
    argv: tuple[str, ...]
    work_folder: Path
    readonly: tuple[Mount, ...] = ()
    writable_paths: tuple[Path, ...] = ()
    hidden_paths: tuple[Path, ...] = ()
    network: bool = False
    uid: int | None = None
    limits: Limits = DEFAULT_LIMITS
    data_files: Mapping[Path, int] | None = None
    info_descriptor: int | None = None
    lifeline: Lifeline | None = None
    shown_at: Path | None = None

    @property
    def place(self) -> Path:
        """Where the work folder shows."""
        return self.shown_at or self.work_folder
