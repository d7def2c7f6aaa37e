"""Folders lent to the user that a sandbox runs as, taken back, and removed."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from services.trees import remove_tree, walk

# What systemd, too, takes users from that live only as long as their program.
PASSING_USERS = range(61184, 65520)
UID_MAP = Path("/proc/self/uid_map")


def user_for_sandbox() -> int | None:
    """Choose the user to become inside; None where we are not root and stay what we are.

    Each sandbox gets its own: limits on processes are counted by user, so two would share them.
    """
    if os.geteuid() != 0:
        return None
    return PASSING_USERS.start + secrets.randbelow(_mapped_users())


def _mapped_users() -> int:
    """Count the users in our range that exist here: a container may know fewer."""
    lines = [line.split() for line in UID_MAP.read_text().splitlines()] if UID_MAP.exists() else []
    ends = [int(first) + int(count) for first, _, count in lines]
    mapped = max(ends, default=PASSING_USERS.stop) - PASSING_USERS.start
    return max(1, min(mapped, len(PASSING_USERS)))


def lend_folder(folder: Path, uid: int | None) -> None:
    """Give a folder and all in it to a user, and cut hard links, by which files elsewhere could be changed.

    Blocking. With None only the links are cut.
    """
    for name, parent, status in _entries(folder):
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            _cut_link(name, parent, status)
        if uid is not None:
            os.chown(name, uid, uid, dir_fd=parent, follow_symlinks=False)


def take_back_folder(folder: Path, lent_to: int | None) -> None:
    """Make all in a folder ours again. Blocking; nobody else may write there any more."""
    if lent_to is None:
        return
    uid, gid = os.geteuid(), os.getegid()
    for name, parent, _ in _entries(folder):
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)


def remove_folder(folder: Path) -> None:
    """Remove a folder that an agent worked in, also where it took our rights away.

    What is gone already, or goes by somebody else's hand meanwhile, is no error. Blocking.
    """
    remove_tree(folder)


def _entries(folder: Path) -> Iterator[tuple[str, int | None, os.stat_result]]:
    """List a folder and all in it as a name, the open folder that it is in, and its status; links unfollowed."""
    yield str(folder), None, folder.lstat()
    for listing in walk(folder):
        for name in (*listing.folders, *listing.files):
            yield name, listing.descriptor, os.lstat(name, dir_fd=listing.descriptor)


def _cut_link(name: str, parent: int | None, status: os.stat_result) -> None:
    copy = f".{secrets.token_hex(8)}"
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=parent)
    target = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IMODE(status.st_mode), dir_fd=parent)
    with open(source, "rb") as reader, open(target, "wb") as writer:
        shutil.copyfileobj(reader, writer)
        os.fchmod(target, stat.S_IMODE(status.st_mode))
        writer.flush()
        # Git takes a file whose time has not changed for the one that it knows.
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(copy, name, src_dir_fd=parent, dst_dir_fd=parent)
