"""A bare mirror of a target repository: where candidates are made, apart from everybody's work.

One mirror a repository and machine. Several processes may use it at once: objects are written
create-only, refs are files that are renamed into their places, and only fetching is done under a lock.

A mirror is a cache, from which what nobody has used for long is collected. Its refs are a file each, which nobody
packs, and which is touched whenever somebody begins to work on the commit. Whoever looks for a commit holds the
collection lock, shared: what he finds and marks then stays for as long as marks count.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.git.command import GitCommand, Place
from services.git.failures import GitFailed
from services.git.fetching import fetching
from services.git.reference_names import base_reference
from services.git.source import LocalRepository, Repository, locate
from services.locks import folder_held, folder_locked, locked
from services.processes.finishing import in_any_case

_HEAD = "ref: refs/heads/none\n"
_CONFIGURATION = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
_DRAFT = ".new-"


@dataclass(frozen=True, slots=True)
class Mirror:
    """An open mirror: the git to call, its folder, and the repository that it mirrors."""

    git: GitCommand
    folder: Path
    repository: Repository

    @property
    def place(self) -> Place:
        """Where a git process works on the mirror."""
        return Place(git_dir=self.folder)

    @property
    def writer_lock(self) -> Path:
        """Held shared by each of our writers of the target's refs; alone by who clears up after dead ones."""
        return self.folder / "autopack" / "writers.flock"

    @property
    def collection_lock(self) -> Path:
        """Held shared by whoever looks for objects and makes new ones; alone by who removes unused ones."""
        return self.folder / "autopack" / "collection.flock"

    @property
    def collection_mark(self) -> Path:
        """There from the beginning to the end of a collection, so that the next one knows of a killed one."""
        return self.folder / "autopack" / "collecting"

    @property
    def intents(self) -> Path:
        """The folder in which a writer says which ref of the target it is about to move."""
        return self.folder / "autopack" / "intents"

    @property
    def quarantines(self) -> Path:
        """The folder of quarantines: on the mirror's file system, so that objects can be moved."""
        return self.folder / "autopack" / "quarantines"


async def open_mirror(git: GitCommand, root: Path, address: str) -> Mirror:
    """The mirror of the repository at `address` under `root`, made when there is none.

    Raises RepositoryMissing, RepositoryUnsupported.
    """
    repository = await locate(git, address)
    digest = hashlib.sha256(os.fsencode(repository.address)).hexdigest()[:32]
    mirror = Mirror(git, root / f"{digest}.git", repository)
    await asyncio.to_thread(_create, mirror)
    return mirror


def _create(mirror: Mirror) -> None:
    """Have an empty bare repository there, unless there is a mirror."""
    if _is_laid_out(mirror.folder):
        return
    root = mirror.folder.parent
    root.mkdir(parents=True, exist_ok=True)
    with folder_locked(root):
        if _is_laid_out(mirror.folder):
            return
        if mirror.folder.exists():  # torn by a power cut, and to git no repository; collected like any draft
            mirror.folder.rename(root / f"{_DRAFT}torn-{secrets.token_hex(8)}")
        _lay_out(mirror)
        sync(root)


def _is_laid_out(folder: Path) -> bool:
    try:
        return (folder / "HEAD").read_bytes() == _HEAD.encode()
    except (FileNotFoundError, NotADirectoryError):
        return False


def _lay_out(mirror: Mirror) -> None:
    """Make it whole or not at all, also after a power cut: it is synced, and then renamed into its place."""
    draft = mirror.folder.parent / f"{_DRAFT}{secrets.token_hex(8)}"
    with folder_held(draft, 0o700):
        _fill(mirror, draft)


def _fill(mirror: Mirror, draft: Path) -> None:
    try:
        for name in ("objects/pack", "objects/info", "refs", "autopack/intents", "autopack/quarantines"):
            (draft / name).mkdir(parents=True)
        (draft / "HEAD").write_text(_HEAD)
        (draft / "config").write_text(_CONFIGURATION)
        (draft / "autopack" / "repository").write_text(mirror.repository.address + "\n")
        for path in (*draft.rglob("*"), draft):
            sync(path)
        draft.rename(mirror.folder)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, last through a power cut. Blocking."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def fetch_commit(mirror: Mirror, commit: str) -> None:
    """Bring a commit with its history into the mirror, and keep it by a ref; raises GitFailed."""
    async with in_use(mirror):
        if not await hold_commit(mirror, commit):
            await _fetch(mirror, commit)


async def _fetch(mirror: Mirror, commit: str) -> None:
    async with fetching(mirror.folder) as descriptor:
        if await hold_commit(mirror, commit):
            return
        await mirror.git.run(
            mirror.place,
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--update-shallow",
            _fetch_address(mirror.repository),
            f"+{commit}:{base_reference(commit)}",
            limit_seconds=mirror.git.settings.fetch_limit_seconds,
            kept_descriptors=(descriptor,),
        )


@asynccontextmanager
async def in_use(mirror: Mirror) -> AsyncIterator[None]:
    """Nothing is collected from the mirror while the block lasts."""
    async with locked(mirror.collection_lock, shared=True):
        yield


async def mark_used(mirror: Mirror, reference: str, commit: str) -> bool:
    """Note that a ref is in use; False where it does not exist, or is not at that commit."""
    return await asyncio.to_thread(_touch, mirror.folder / reference, commit)


async def hold_commit(mirror: Mirror, commit: str) -> bool:
    """Note that a commit is in use, if the mirror holds it with all that belongs to it."""
    reference = base_reference(commit)
    if await mark_used(mirror, reference, commit):
        return True
    if not await _is_whole(mirror, commit):
        return False
    await in_any_case(asyncio.to_thread(_write, mirror, reference, commit))
    return True


async def keep_reference(mirror: Mirror, reference: str, commit: str) -> None:
    """Set a ref of the mirror, whatever it was, in a file that is synced; the mirror is to be in use meanwhile."""
    await in_any_case(asyncio.to_thread(_write, mirror, reference, commit, durable=True))


async def _is_whole(mirror: Mirror, commit: str) -> bool:
    if not await has_commit(mirror, commit):
        return False
    if not mirror.collection_mark.exists():
        return True
    # A collection was killed: it may have removed a part of what no ref leads to.
    try:
        await mirror.git.run(
            mirror.place, "rev-list", "--objects", "--quiet", "--stdin", stdin=f"{commit}\n--not\n--all\n".encode()
        )
    except GitFailed:
        return False
    return True


def _touch(file: Path, commit: str) -> bool:
    try:
        if file.read_text().strip() == commit:
            os.utime(file)
            return True
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    return False


def _write(mirror: Mirror, reference: str, commit: str, *, durable: bool = False) -> None:
    """Write the ref as git would: its name says what it is of, so whoever writes it writes the same."""
    file = mirror.folder / reference
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = mirror.folder / "autopack" / f"pin-{secrets.token_hex(8)}"
    try:
        with draft.open("w") as written:
            written.write(f"{commit}\n")
            if durable:
                written.flush()
                os.fsync(written.fileno())
        draft.rename(file)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


async def has_commit(mirror: Mirror, commit: str) -> bool:
    """Whether the mirror holds this commit."""
    output = await mirror.git.run(
        mirror.place, "cat-file", "--batch-check=%(objecttype)", stdin=f"{commit}^{{commit}}\n".encode()
    )
    return output.stdout == b"commit\n"


def _fetch_address(repository: Repository) -> str:
    return str(repository.git_dir) if isinstance(repository, LocalRepository) else repository.address
