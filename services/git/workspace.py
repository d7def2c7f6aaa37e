"""A clone of its own for an agent, and what we keep of it out of the agent's reach.

The clone holds its objects itself: hard links would let an agent write into the mirror's files,
and alternates would point outside of its sandbox. It has the base's last commits, not the whole
history: enough to read how the code came about, cheap for a large repository.
`git clone` would need four processes and our protocol for the same: here `pack-objects` writes the
pack straight into its place, and one checkout serves the agent's index and our own.
"""

import asyncio
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from services.git.command import Place
from services.git.failures import CommitMissing, GitFailed
from services.git.ignore_rules import flattened
from services.git.mirror import Mirror, has_commit
from services.processes.finishing import in_any_case, side_by_side
from services.trees import remove_tree, walk

HISTORY_COMMITS = 50
BRANCH = "work"
_IGNORE_FILE = ".gitignore"
_CONFIGURATION = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
[user]
\tname = Autopack agent
\temail = agent@localhost
[gc]
\tauto = 0
"""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder with the agent's clone in `tree` and, beside it, our index and the base's ignore rules.

    Only `tree` is given to the agent.
    """

    mirror: Mirror
    commit: str
    folder: Path

    @property
    def tree(self) -> Path:
        """The agent's work tree."""
        return self.folder / "tree"

    @property
    def index(self) -> Path:
        """Our index of the base, as it was checked out."""
        return self.folder / "index"

    @property
    def ignore_rules(self) -> Path:
        """The base's ignore rules in one list."""
        return self.folder / "ignored"


async def clone_for_agent(mirror: Mirror, commit: str, folder: Path) -> Workspace:
    """Make a workspace of `commit` in `folder`, which is empty or does not exist; raises CommitMissing.

    Remove the folder to be rid of it: failed or cancelled, it leaves a half made one, and writes no more to it.
    Three processes: one checks out while two copy the history.
    """
    workspace = Workspace(mirror, commit, folder)
    await in_any_case(asyncio.to_thread(_lay_out, workspace))
    try:
        await side_by_side(_check_out(workspace), _copy_history(workspace))
    except GitFailed as error:
        if await has_commit(mirror, commit):
            raise
        raise CommitMissing(commit) from error
    return workspace


async def remove_workspace(workspace: Workspace) -> None:
    """Remove the folder with all that the agent left, whatever modes it gave to its files."""
    await asyncio.to_thread(_remove, workspace.folder)


def _lay_out(workspace: Workspace) -> None:
    repository = workspace.tree / ".git"
    for name in ("objects/pack", "objects/info", "refs/heads", "refs/tags", "info"):
        (repository / name).mkdir(parents=True)
    (repository / "HEAD").write_text(f"ref: refs/heads/{BRANCH}\n")
    (repository / "config").write_text(_CONFIGURATION)
    (repository / "refs" / "heads" / BRANCH).write_text(f"{workspace.commit}\n")


async def _check_out(workspace: Workspace) -> None:
    mirror = workspace.mirror
    place = Place(git_dir=mirror.folder, work_tree=workspace.tree, index=workspace.index)
    await mirror.git.run(place, "read-tree", "--reset", "-u", workspace.commit, durable=False)
    await in_any_case(asyncio.to_thread(_keep, workspace))


async def _copy_history(workspace: Workspace) -> None:
    """Pack the last commits into the clone; where the history is cut, `shallow` says so."""
    mirror, repository = workspace.mirror, workspace.tree / ".git"
    shallow = await _shallow_commits(workspace)
    if shallow:
        text = "".join(f"{commit}\n" for commit in shallow)
        await in_any_case(asyncio.to_thread((repository / "shallow").write_text, text))
    given = "".join(f"--shallow {commit}\n" for commit in shallow) + f"{workspace.commit}\n"
    # The pack grows where it will lie: in the mirror's folder whoever fetches would take it for a dead one's.
    await mirror.git.run(
        Place(git_dir=mirror.folder, quarantine=repository / "objects"),
        "pack-objects",
        "--quiet",
        "--revs",
        "--delta-base-offset",
        str(repository / "objects" / "pack" / "pack"),
        stdin=given.encode(),
        durable=False,
    )


async def _shallow_commits(workspace: Workspace) -> list[str]:
    """The commits of the copied history whose parents are not copied, or not in the mirror either."""
    mirror = workspace.mirror
    listed = await mirror.git.run(
        mirror.place, "rev-list", "--parents", f"--max-count={HISTORY_COMMITS}", workspace.commit
    )
    lines = [line.split() for line in listed.stdout.decode().splitlines()]
    copied = {line[0] for line in lines}
    cut = {line[0] for line in lines if not copied.issuperset(line[1:])}
    return sorted(cut | (copied & await asyncio.to_thread(_mirror_shallow, mirror)))


def _mirror_shallow(mirror: Mirror) -> set[str]:
    file = mirror.folder / "shallow"
    return set(file.read_text().split()) if file.exists() else set()


def _keep(workspace: Workspace) -> None:
    """Give the agent an index like ours, and read the rules while the work tree still is the base's."""
    # With its time: by that git tells whether a file may have changed in the moment in which it was checked out.
    shutil.copy2(workspace.index, workspace.tree / ".git" / "index")
    workspace.ignore_rules.write_bytes(flattened(_ignore_rules(workspace.tree)))


def _ignore_rules(tree: Path) -> dict[bytes, bytes]:
    """The rules of each folder that has some; git does not follow a link here either."""
    found = {}
    for listing in walk(tree):
        if not listing.way:
            listing.folders.remove(".git")
        if (
            _IGNORE_FILE in listing.files
            and (rules := _read_no_link(_IGNORE_FILE, listing.descriptor)) is not None
        ):
            found[os.fsencode("/".join(listing.way))] = rules
    return found


def _read_no_link(name: str, parent: int) -> bytes | None:
    if stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode):
        return None
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent), "rb") as file:
        return file.read()


def _remove(folder: Path) -> None:
    if folder.exists():
        remove_tree(folder)
