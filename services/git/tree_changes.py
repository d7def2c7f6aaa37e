"""Which entries two trees differ in, as `diff-tree --raw -z` tells it."""

from collections.abc import Iterator
from dataclasses import dataclass

from services.git.objects import ObjectSource

ABSENT = 0
REGULAR = 0o100644
EXECUTABLE = 0o100755
SYMLINK = 0o120000
GITLINK = 0o160000


@dataclass(frozen=True, slots=True)
class TreeChange:
    """One entry that differs: mode 0 and an id of zeros stand for "not there"."""

    path: bytes
    old_mode: int
    new_mode: int
    old_id: str
    new_id: str


async def tree_changes(source: ObjectSource, old: str, new: str) -> tuple[TreeChange, ...]:
    """The entries in which two commits or trees differ, in git's order; one process."""
    output = await source.git.run(source.place, "diff-tree", "-r", "-z", "--raw", "--no-renames", old, new)
    return tuple(_parse(output.stdout))


async def tree_paths(source: ObjectSource, tree: str) -> tuple[bytes, ...]:
    """Every path of a tree; one process."""
    output = await source.git.run(source.place, "ls-tree", "-r", "-z", "--name-only", "--full-tree", tree)
    return tuple(path for path in output.stdout.split(b"\0") if path)


def _parse(stream: bytes) -> Iterator[TreeChange]:
    fields = iter(stream.split(b"\0"))
    for head in fields:
        if not head.startswith(b":"):
            continue
        old_mode, new_mode, old_id, new_id, _ = head[1:].decode().split(" ")
        yield TreeChange(next(fields), int(old_mode, 8), int(new_mode, 8), old_id, new_id)
