"""The proposed change that policy judges, read from the trees themselves, not from a patch's text."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from services.git.objects import ObjectSource, object_sizes, read_objects
from services.git.tree_changes import GITLINK, TreeChange, tree_paths
from services.policy.change import Blob, ProposedChange, file_change
from services.policy.policy import Limits
from services.policy.sizes import is_too_large
from services.processes.finishing import side_by_side

READ_LIMIT_BYTES = 20 * 1024 * 1024
"""What the repository itself holds may be larger than a file may become, and is read to see what goes."""
_ZEROS = "0" * 40


async def read_change(
    source: ObjectSource,
    changes: Sequence[TreeChange],
    result: str,
    refused_paths: tuple[bytes, ...] = (),
    limits: Limits | None = None,
) -> ProposedChange:
    """The change between a parent and a result tree (or commit), with the contents of its files.

    Three processes, however many files. What is refused for its size has its size, no content: a file
    above the limit, or all of a change that is too large as a whole.
    """
    reading = _Reading(changes, limits or Limits())
    (sizes, contents), paths = await side_by_side(reading.read(source), tree_paths(source, result))
    # In a thread: each line becomes an object.
    return await asyncio.to_thread(reading.change, sizes, contents, frozenset(paths), refused_paths)


class _Reading:
    """Which contents of a change are read, and what is made of them."""

    def __init__(self, changes: Sequence[TreeChange], limits: Limits) -> None:
        self._changes = changes
        self._limits = limits

    async def read(self, source: ObjectSource) -> tuple[Mapping[str, int], Mapping[str, bytes]]:
        """The sizes of all blobs, and the contents of those that are to be judged by them."""
        sizes = await object_sizes(source, sorted(set(self._blobs())))
        found = await read_objects(source, sorted(set(self._judged_by_content(sizes))))
        return sizes, {one.object_id: one.content for one in found if one is not None}

    def change(
        self,
        sizes: Mapping[str, int],
        contents: Mapping[str, bytes],
        paths: frozenset[bytes],
        refused_paths: tuple[bytes, ...],
    ) -> ProposedChange:
        """All that is known of the change."""
        blobs = {object_id: Blob(sizes[object_id], contents.get(object_id)) for object_id in self._blobs()}
        files = tuple(
            file_change(one.path, one.old_mode, one.new_mode, blobs.get(one.old_id), blobs.get(one.new_id))
            for one in self._changes
        )
        return ProposedChange(files, paths, refused_paths, unread=self._is_too_large(sizes))

    def _blobs(self) -> Iterator[str]:
        for change in self._changes:
            for object_id, mode in ((change.old_id, change.old_mode), (change.new_id, change.new_mode)):
                if object_id != _ZEROS and mode != GITLINK:
                    yield object_id

    def _judged_by_content(self, sizes: Mapping[str, int]) -> Iterator[str]:
        if self._is_too_large(sizes):
            return
        for change in self._changes:
            if sizes.get(change.new_id, 0) <= self._limits.file_size_bytes:
                known = (object_id for object_id in (change.old_id, change.new_id) if object_id in sizes)
                yield from (object_id for object_id in known if sizes[object_id] <= READ_LIMIT_BYTES)

    def _is_too_large(self, sizes: Mapping[str, int]) -> bool:
        return is_too_large([sizes.get(change.new_id, 0) for change in self._changes], self._limits)
