"""Looking at commits in a mirror: their files, what lies between them, their story."""

import asyncio
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.git.command import Place
from services.git.failures import CommitMissing, GitFailed
from services.git.mirror import Mirror, has_commit
from services.processes.finishing import in_any_case
from services.sandbox import work_folder


@dataclass(frozen=True, slots=True)
class LoggedCommit:
    """A commit as a log shows it."""

    commit: str
    parents: tuple[str, ...]
    tree: str
    author_name: str
    committed_at: datetime
    message: str


async def check_out_tree(mirror: Mirror, commit: str, folder: Path) -> None:
    """Write the files of a commit into `folder`, made if need be: plain files, no `.git`. One process.

    Raises CommitMissing.
    """
    await in_any_case(asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True))
    async with work_folder(mirror.quarantines / secrets.token_hex(8)) as scratch:
        place = Place(git_dir=mirror.folder, work_tree=folder, index=scratch / "index")
        try:
            await mirror.git.run(place, "read-tree", "--reset", "-u", commit, durable=False)
        except GitFailed as error:
            raise await _explained(mirror, error, commit) from error


async def diff(mirror: Mirror, base: str, commit: str) -> bytes:
    """The patch from one commit to another, in the form in which patches are taken; raises CommitMissing."""
    return await _read(
        mirror,
        (base, commit),
        "diff-tree",
        "-r",
        "--patch",
        "--binary",
        "--full-index",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        base,
        commit,
    )


async def readable_diff(mirror: Mirror, base: str, commit: str) -> bytes:
    """The same for readers: binary files are named only, renames are found."""
    return await _read(
        mirror, (base, commit), "diff-tree", "-r", "-p", "-M", "--no-ext-diff", "--no-textconv", base, commit
    )


async def log(mirror: Mirror, commit: str, since: str | None = None, limit: int = 1000) -> list[LoggedCommit]:
    """The commits from `commit` back to `since` (not included), newest first; raises CommitMissing."""
    excluded = () if since is None else (f"^{since}",)
    stream = await _read(
        mirror,
        (commit, *((since,) if since else ())),
        "log",
        "-z",
        "--no-show-signature",
        f"--max-count={limit}",
        "--format=%H%x1f%P%x1f%T%x1f%an%x1f%ct%x1f%B",
        commit,
        *excluded,
    )
    return [_logged(entry) for entry in stream.decode("utf-8", "replace").split("\0") if entry]


async def is_ancestor(mirror: Mirror, ancestor: str, commit: str) -> bool:
    """Whether `commit` has `ancestor` in its history; raises CommitMissing."""
    try:
        output = await mirror.git.run(mirror.place, "merge-base", "--is-ancestor", ancestor, commit, accept=(0, 1))
    except GitFailed as error:
        raise await _explained(mirror, error, ancestor, commit) from error
    return output.exit_code == 0


async def _read(mirror: Mirror, commits: tuple[str, ...], *arguments: str) -> bytes:
    try:
        return (await mirror.git.run(mirror.place, *arguments)).stdout
    except GitFailed as error:
        raise await _explained(mirror, error, *commits) from error


async def _explained(mirror: Mirror, error: GitFailed, *commits: str) -> CommitMissing | GitFailed:
    for commit in commits:
        if not await has_commit(mirror, commit):
            return CommitMissing(commit)
    return error


def _logged(entry: str) -> LoggedCommit:
    commit, parents, tree, author, seconds, message = entry.split("\x1f", 5)
    moment = datetime.fromtimestamp(int(seconds), tz=UTC)
    return LoggedCommit(commit.strip(), tuple(parents.split()), tree, author, moment, message.strip("\n"))
