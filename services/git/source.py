"""Addresses of repositories: a folder on this machine, or a URL."""

import asyncio
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from services.git.child import last_lines
from services.git.command import GitCommand, Place
from services.git.failures import RepositoryMissing, RepositoryUnsupported

_SCP_LIKE = re.compile(r"[A-Za-z0-9][\w.-]*@[\w.-]+:(?!:)\S+|[A-Za-z0-9][\w.-]+:(?![:/\\])\S+")


@dataclass(frozen=True, slots=True)
class LocalRepository:
    """A repository on this machine: its git directory, and the name that fetching takes."""

    git_dir: Path

    @property
    def address(self) -> str:
        """What the mirror is named after, and what git fetches from."""
        return str(self.git_dir)

    @property
    def place(self) -> Place:
        """Where a git process works on it: never with a work tree."""
        return Place(git_dir=self.git_dir)


@dataclass(frozen=True, slots=True)
class RemoteRepository:
    """A repository behind a URL."""

    address: str


Repository = LocalRepository | RemoteRepository
Shape = tuple[str, int, int, int]


async def locate(git: GitCommand, address: str) -> Repository:
    """Find the repository at a path or URL.

    Raises RepositoryMissing, RepositoryUnsupported. A URL is only looked at, not yet asked.
    """
    if not address or address.startswith("-") or any(ord(character) < 32 for character in address):
        raise RepositoryUnsupported(repr(address))
    if "://" in address or "::" in address:
        return _remote(git, address)
    path = Path(address)
    if not path.exists() and _SCP_LIKE.fullmatch(address):
        return RemoteRepository(address)
    return LocalRepository(await _git_dir(git, path))


def shape_of(address: str) -> Shape | None:
    """What tells that a folder still is the repository that it was, without asking git; None where nothing does.

    Of a URL nothing does, nor need it: locating one asks nobody. Blocking.
    """
    try:
        path = _with_git_folder(Path(address).resolve())
        status = path.stat()
        is_folder = stat.S_ISDIR(status.st_mode)
        if is_folder and not all((path / name).exists() for name in ("HEAD", "objects")):
            return None
    except (OSError, ValueError):
        return None
    # A file says where the folder is, and may come to say something else.
    return str(path), status.st_dev, status.st_ino, 0 if is_folder else status.st_mtime_ns


def _with_git_folder(path: Path) -> Path:
    return path / ".git" if (path / ".git").exists() else path


def is_relative(address: str) -> bool:
    """Whether it is a path that depends on the folder in which a process happens to run."""
    is_url = "://" in address or "::" in address or _SCP_LIKE.fullmatch(address) is not None
    return not is_url and not Path(address).is_absolute()


def _remote(git: GitCommand, address: str) -> RemoteRepository:
    parts = urlsplit(address)
    if parts.scheme not in git.settings.protocols or address.startswith(f"{parts.scheme}::"):
        raise RepositoryUnsupported(f"{parts.scheme or address.split(':')[0]}: is not served")
    if (parts.hostname or "").startswith("-"):
        raise RepositoryUnsupported(repr(address))
    return RemoteRepository(address)


async def _git_dir(git: GitCommand, path: Path) -> Path:
    resolved = await asyncio.to_thread(path.resolve)
    candidate = _with_git_folder(resolved)
    output = await git.run(Place(git_dir=candidate), "rev-parse", "--absolute-git-dir", accept=(0, 128))
    if output.exit_code != 0:
        raise RepositoryMissing(f"{path}: {last_lines(output.stderr, 200)}")
    return Path(output.stdout.decode("utf-8", "surrogateescape").rstrip("\n"))
