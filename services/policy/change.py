"""A proposed change: what differs between the parent's tree and the result's."""

from collections import Counter
from dataclasses import dataclass

ABSENT = 0
REGULAR = 0o100644
EXECUTABLE = 0o100755
SYMLINK = 0o120000
GITLINK = 0o160000
_BINARY_LOOK_BYTES = 8000


@dataclass(frozen=True, slots=True)
class Blob:
    """A file's content; None where it is too large to be read, or no file."""

    size_bytes: int
    content: bytes | None

    @property
    def binary(self) -> bool:
        """Whether git would call it binary: a NUL near the start; too large counts as binary."""
        return self.content is None or b"\0" in self.content[:_BINARY_LOOK_BYTES]

    @property
    def known_binary(self) -> bool:
        """Whether its bytes were read, and are binary."""
        return self.content is not None and self.binary

    @property
    def lines(self) -> list[bytes]:
        """The lines of a text; a binary file has none."""
        return [] if self.content is None or self.binary else self.content.split(b"\n")


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its number, from 1."""

    number: int
    content: bytes

    @property
    def text(self) -> str:
        """The line as text; bytes that are not UTF-8 show as replacement characters."""
        return self.content.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class FileChange:
    """One path. Mode 0 stands for "not there"; lines moved within the file are neither added nor removed."""

    path: bytes
    old_mode: int
    new_mode: int
    old: Blob | None
    new: Blob | None
    added: tuple[Line, ...] = ()
    removed: tuple[Line, ...] = ()

    @property
    def is_new(self) -> bool:
        """Whether the path was not there before."""
        return self.old_mode == ABSENT and self.new_mode != ABSENT

    @property
    def is_deleted(self) -> bool:
        """Whether the path is gone."""
        return self.new_mode == ABSENT


@dataclass(frozen=True, slots=True)
class ProposedChange:
    """All that a change does, and the paths of the whole result.

    `refused_paths` are those that git holds in no tree: they stand in the patch alone. Of one that is
    `unread`, since it is larger than a change may be, names, modes and sizes are known, and no content.
    """

    files: tuple[FileChange, ...]
    result_paths: frozenset[bytes]
    refused_paths: tuple[bytes, ...] = ()
    unread: bool = False


def file_change(path: bytes, old_mode: int, new_mode: int, old: Blob | None, new: Blob | None) -> FileChange:
    """A file's change, with the lines that it adds and removes worked out."""
    before, after = [] if old is None else old.lines, [] if new is None else new.lines
    return FileChange(
        path, old_mode, new_mode, old, new, added=_surplus(after, before), removed=_surplus(before, after)
    )


def _surplus(lines: list[bytes], others: list[bytes]) -> tuple[Line, ...]:
    """Lines that occur more often than among the others: a moved line is no new line."""
    known = Counter(others)
    found = []
    for number, line in enumerate(lines, start=1):
        if known[line] > 0:
            known[line] -= 1
        elif line:
            found.append(Line(number, line))
    return tuple(found)
