"""The proposed change that policy judges, read from the trees themselves, not from a patch's text."""

from collections.abc import Sequence

from services.git.objects import ObjectSource, object_sizes, read_objects
from services.git.tree_changes import GITLINK, TreeChange, tree_paths
from services.policy.change import Blob, ProposedChange, file_change
from services.processes.finishing import side_by_side

READ_LIMIT_BYTES = 20 * 1024 * 1024
_ZEROS = "0" * 40


async def read_change(
    source: ObjectSource, changes: Sequence[TreeChange], result: str, refused_paths: tuple[bytes, ...] = ()
) -> ProposedChange:
    """The change between a parent and a result tree (or commit), with the contents of its files.

    Three processes, however many files. A file above READ_LIMIT_BYTES has its size, no content.
    """
    blobs, paths = await side_by_side(_read_blobs(source, changes), tree_paths(source, result))
    files = tuple(
        file_change(
            change.path, change.old_mode, change.new_mode, blobs.get(change.old_id), blobs.get(change.new_id)
        )
        for change in changes
    )
    return ProposedChange(files, frozenset(paths), refused_paths)


async def _read_blobs(source: ObjectSource, changes: Sequence[TreeChange]) -> dict[str, Blob]:
    sides = [(side, mode) for c in changes for side, mode in ((c.old_id, c.old_mode), (c.new_id, c.new_mode))]
    wanted = sorted({object_id for object_id, mode in sides if object_id != _ZEROS and mode != GITLINK})
    sizes = await object_sizes(source, wanted)
    small = [object_id for object_id in wanted if sizes[object_id] <= READ_LIMIT_BYTES]
    contents = {found.object_id: found.content for found in await read_objects(source, small) if found is not None}
    return {object_id: Blob(sizes[object_id], contents.get(object_id)) for object_id in wanted}
