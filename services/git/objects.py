"""Reading objects: many in one process."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.git.command import GitCommand, Place


class ObjectSource(Protocol):
    """Whatever objects can be read from: a mirror, or a quarantine over it."""

    @property
    def git(self) -> GitCommand:
        """The git to call."""

    @property
    def place(self) -> Place:
        """Where it works."""


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object: its id, its type (`blob`, `commit` …), its content."""

    object_id: str
    kind: str
    content: bytes


async def read_objects(source: ObjectSource, names: Sequence[str]) -> list[FoundObject | None]:
    """The objects of these names (ids, or `commit:path`), in order; None for those missing."""
    if not names:
        return []
    output = await source.git.run(source.place, "cat-file", "--batch", "--buffer", stdin=_lines(names))
    return list(_parse(output.stdout))


async def blob_content(source: ObjectSource, object_id: str) -> bytes | None:
    """The content of an object: nothing of one that is no blob, None where it is missing. Raises GitFailed."""
    (found,) = await read_objects(source, [object_id])
    if found is None:
        return None
    return found.content if found.kind == "blob" else b""


async def object_kind(source: ObjectSource, object_id: str) -> str | None:
    """The type of an object; None where it is missing."""
    output = await source.git.run(
        source.place, "cat-file", "--batch-check=%(objecttype)", stdin=_lines([object_id])
    )
    kind = output.stdout.decode().strip()
    return None if kind.endswith(" missing") else kind


async def object_sizes(source: ObjectSource, names: Sequence[str]) -> dict[str, int]:
    """The sizes in bytes of these objects by their ids; those missing are left out."""
    if not names:
        return {}
    output = await source.git.run(
        source.place, "cat-file", "--batch-check=%(objectname) %(objectsize)", "--buffer", stdin=_lines(names)
    )
    pairs = (line.split(" ") for line in output.stdout.decode().splitlines())
    return {name: int(size) for name, size in pairs if size.isdigit()}


def _lines(names: Iterable[str]) -> bytes:
    return b"".join(name.encode("utf-8", "surrogateescape") + b"\n" for name in names)


def _parse(stream: bytes) -> Iterable[FoundObject | None]:
    position = 0
    while position < len(stream):
        end = stream.index(b"\n", position)
        head = stream[position:end].rsplit(b" ", 2)
        if len(head) != 3 or not head[2].isdigit():
            yield None  # "NAME missing", "NAME ambiguous"
            position = end + 1
            continue
        size = int(head[2])
        yield FoundObject(head[0].decode(), head[1].decode(), stream[end + 1 : end + 1 + size])
        position = end + 1 + size + 1
