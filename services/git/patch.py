"""Taking a patch from an agent's work tree, which is read as hostile input.

Git is given our git directory, our index and the agent's files. Nothing in the agent's `.git`, be it
configuration, hooks, attributes or commits, is looked at: only the files count. So no submodule is
ever entered, no filter is configured, no link is followed, and nothing of the agent's is run.
"""

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from services.git.child import joined
from services.git.command import GitCommand, Place
from services.git.failures import GitFailed, WorkTreeUnreadable
from services.git.workspace import Workspace
from services.policy.disguise import is_git_directory_name
from services.processes.finishing import in_any_case
from services.trees import walk

# What a repository within the work tree is recorded as. Its own commit is of no interest: any link
# to another repository is a violation, and asking for it would mean to read that repository.
NESTED_REPOSITORY_ID = "1" * 40
_EMPTY_BLOB_ID = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
_NO_ID = "0" * 40
_NOT_OPENED = b"could not open directory"
_OPENED_BY_GIT = frozenset({".gitattributes", ".gitignore", ".gitmodules"})


@dataclass(frozen=True, slots=True)
class TakeLimits:
    """How much is read from a work tree, in bytes and files."""

    file_size_bytes: int = 20 * 1024 * 1024
    total_size_bytes: int = 200 * 1024 * 1024
    changed_files: int = 100_000


@dataclass(frozen=True, slots=True)
class PatchedFile:
    """One file of a patch; lines are None for a binary file."""

    path: bytes
    lines_added: int | None
    lines_removed: int | None


@dataclass(frozen=True, slots=True)
class TakenPatch:
    """A patch, what it touches, and what was found that it does not hold.

    `oversized` files are left out (too large alone, or past the total), so such a patch is not what
    the agent made. `special_files` (pipes, sockets, devices) are nothing that git could hold.
    `nested_repositories` and `refused_paths` stand in the patch, for policy to name.
    """

    patch: bytes
    files: tuple[PatchedFile, ...]
    oversized: tuple[bytes, ...] = ()
    special_files: tuple[bytes, ...] = ()
    nested_repositories: tuple[bytes, ...] = ()
    refused_paths: tuple[bytes, ...] = ()

    @property
    def lines_added(self) -> int:
        """Lines added in all text files."""
        return sum(file.lines_added or 0 for file in self.files)

    @property
    def lines_removed(self) -> int:
        """Lines removed in all text files."""
        return sum(file.lines_removed or 0 for file in self.files)


@dataclass(slots=True)
class _Findings:
    """The paths that differ from the base, by what is to be done about them."""

    update: list[bytes] = field(default_factory=list)
    forget: list[bytes] = field(default_factory=list)
    oversized: list[bytes] = field(default_factory=list)
    special: list[bytes] = field(default_factory=list)
    nested: list[bytes] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Reader:
    """A private index, and a folder for objects that nobody needs afterwards."""

    git: GitCommand
    workspace: Workspace
    scratch: Path

    def place(self, *, with_files: bool) -> Place:
        tree = self.workspace.tree if with_files else None
        return Place(self.workspace.mirror.folder, tree, self.scratch / "index", self.scratch / "objects")


async def take_patch(workspace: Workspace, limits: TakeLimits | None = None) -> TakenPatch:
    """What the work tree changes in its base: tracked files, and new ones that the base does not ignore.

    The agent's own commits count by what they left in the tree. Raises WorkTreeUnreadable.
    Three processes (two more where repositories or pipes lie about).
    """
    scratch = Path(await in_any_case(asyncio.to_thread(tempfile.mkdtemp, dir=workspace.folder)))
    try:
        await in_any_case(asyncio.to_thread(_prepare_scratch, workspace, scratch))
        reader = _Reader(workspace.mirror.git, workspace, scratch)
        pipes = await in_any_case(asyncio.to_thread(_remove_pipes, workspace.tree))
        findings = await _find(reader, limits or TakeLimits())
        findings.special.extend(pipes)
        await _update_index(reader, findings)
        return await _difference(reader, findings)
    except GitFailed as error:
        raise WorkTreeUnreadable(error.stderr_tail) from error
    finally:
        await in_any_case(asyncio.to_thread(shutil.rmtree, scratch, True))


def _prepare_scratch(workspace: Workspace, scratch: Path) -> None:
    if not stat.S_ISDIR(workspace.tree.lstat().st_mode):
        raise WorkTreeUnreadable("It is no folder any more.")
    (scratch / "objects").mkdir()
    # With its time: by that git tells whether a file may have changed in the moment in which it was checked out.
    shutil.copy2(workspace.index, scratch / "index")


def _remove_pipes(tree: Path) -> list[bytes]:
    """Git opens files of these names in every folder, and at a pipe it would wait for somebody to write."""
    found = []
    for listing in walk(tree):
        for name in _OPENED_BY_GIT.intersection(listing.files):
            if stat.S_IFMT(os.lstat(name, dir_fd=listing.descriptor).st_mode) not in (stat.S_IFREG, stat.S_IFLNK):
                path = os.fsencode("/".join((*listing.way, name)))
                _remove(name, listing.descriptor, path)
                found.append(path)
    return sorted(found)


def _remove(name: str, parent: int, path: bytes) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except OSError as error:
        raise WorkTreeUnreadable(f"{path!r} is a pipe and cannot be removed: {error.strerror}.") from error


async def _find(reader: _Reader, limits: TakeLimits) -> _Findings:
    listed = await reader.git.run(
        reader.place(with_files=True),
        "ls-files",
        "-z",
        "--modified",
        "--deleted",
        "--others",
        f"--exclude-from={reader.workspace.ignore_rules}",
        durable=False,
    )
    if _NOT_OPENED in listed.stderr:  # git passes over it, and the patch would lack what it holds
        raise WorkTreeUnreadable("A folder in it is closed, or its path is longer than git can follow.")
    paths = dict.fromkeys(path for path in listed.stdout.split(b"\0") if path)  # in order, each once
    if len(paths) > limits.changed_files:
        raise WorkTreeUnreadable(f"{len(paths)} files differ, where {limits.changed_files} may.")
    return await asyncio.to_thread(_sort, os.fsencode(reader.workspace.tree), paths, limits)


def _sort(tree: bytes, paths: Iterable[bytes], limits: TakeLimits) -> _Findings:
    found, folders = _Findings(), _Folders(tree)
    total = 0
    for path in dict.fromkeys(map(folders.up_to_link, paths)):
        size = _sort_one(tree, path, found)
        total += size
        if size > limits.file_size_bytes or (size and total > limits.total_size_bytes):
            found.oversized.append(found.update.pop())
            total -= size
    return found


def _sort_one(tree: bytes, path: bytes, found: _Findings) -> int:
    """Put one path where it belongs; returns its size in bytes when it is a file to be read."""
    if path.endswith(b"/"):
        found.nested.append(path.rstrip(b"/"))
        return 0
    if any(map(is_git_directory_name, path.split(b"/"))):
        found.refused.append(path)
        return 0
    try:
        status = os.lstat(os.path.join(tree, path))
    except (FileNotFoundError, NotADirectoryError):
        found.update.append(path)  # deleted: git sees that, too
        return 0
    except OSError as error:
        raise WorkTreeUnreadable(f"{path!r}: {error.strerror}.") from error
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFREG:
            found.update.append(path)
            return status.st_size
        case stat.S_IFLNK:
            found.update.append(path)
        case stat.S_IFDIR if os.path.lexists(os.path.join(tree, path, b".git")):
            found.nested.append(path)
        case stat.S_IFDIR:  # a file became a folder; the files in it are listed, too
            found.forget.append(path)
        case _:
            found.special.append(path)
            found.forget.append(path)
    return 0


class _Folders:
    """The folders of a tree, each looked at once: many files may lie in one, and it as deep as paths reach."""

    def __init__(self, tree: bytes) -> None:
        self._tree = tree
        self._cut: dict[bytes, bytes | None] = {b"": None}

    def up_to_link(self, path: bytes) -> bytes:
        """The path, cut at the first component that is a link: nothing beyond it belongs to the tree."""
        link = self._link_in(path.rstrip(b"/").rpartition(b"/")[0])
        return path if link is None else link

    def _link_in(self, folder: bytes) -> bytes | None:
        """The first link on the way to a folder, itself among them."""
        unknown = []
        while folder not in self._cut:
            unknown.append(folder)
            folder = folder.rpartition(b"/")[0]
        link = self._cut[folder]
        for below in reversed(unknown):
            if link is None and os.path.islink(os.path.join(self._tree, below)):
                link = below
            self._cut[below] = link
        return link


async def _update_index(reader: _Reader, findings: _Findings) -> None:
    place, git = reader.place(with_files=True), reader.git
    if findings.forget:
        await git.run(
            place, "update-index", "--force-remove", "-z", "--stdin", stdin=joined(findings.forget), durable=False
        )
    if findings.update:
        await git.run(
            place,
            "update-index",
            "--add",
            "--remove",
            "--replace",
            "-z",
            "--stdin",
            stdin=joined(findings.update),
            durable=False,
        )
    if findings.nested:
        links = [f"160000 {NESTED_REPOSITORY_ID}\t".encode() + path for path in findings.nested]
        await git.run(place, "update-index", "--replace", "-z", "--index-info", stdin=joined(links), durable=False)


async def _difference(reader: _Reader, findings: _Findings) -> TakenPatch:
    # Without the work tree: then no attribute of the agent's can pass a text off as binary.
    output = await reader.git.run(
        reader.place(with_files=False),
        "diff-index",
        "--cached",
        "--numstat",
        "-z",
        "--patch",
        "--binary",
        "--full-index",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        "--ignore-submodules=none",
        reader.workspace.commit,
        "--",
    )
    counts, patch = _split(output.stdout)
    refused = tuple(findings.refused)
    return TakenPatch(
        patch=patch + b"".join(map(_empty_file_patch, refused)),
        files=(*counts, *(PatchedFile(path, 0, 0) for path in refused)),
        oversized=tuple(findings.oversized),
        special_files=tuple(findings.special),
        nested_repositories=tuple(findings.nested),
        refused_paths=refused,
    )


def _split(stream: bytes) -> tuple[list[PatchedFile], bytes]:
    """The counts (`added TAB removed TAB path NUL` each), and after one more NUL the patch."""
    files = []
    position = 0
    while position < len(stream) and stream[position : position + 1] != b"\0":
        end = stream.index(b"\0", position)
        added, removed, path = stream[position:end].split(b"\t", 2)
        files.append(PatchedFile(path, _count(added), _count(removed)))
        position = end + 1
    return files, stream[position + 1 :]


def _count(field_text: bytes) -> int | None:
    return None if field_text == b"-" else int(field_text)


def _empty_file_patch(path: bytes) -> bytes:
    """A patch that names a path which git itself would refuse to take, so that policy sees it."""
    name = _quoted(b"a/" + path), _quoted(b"b/" + path)
    lines = (b"diff --git " + name[0] + b" " + name[1], b"new file mode 100644")
    return b"\n".join((*lines, f"index {_NO_ID}..{_EMPTY_BLOB_ID}".encode())) + b"\n"


def _quoted(path: bytes) -> bytes:
    """A path as git writes it in a patch: in C's quotes, every byte that is not plain in octal."""
    return b'"' + b"".join(bytes([b]) if 32 < b < 127 and b not in b'"\\' else b"\\%03o" % b for b in path) + b'"'
