"""Preparations: made once for a repository, a base and its lock files, then lent to whoever works."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

import orjson

from events.configuration import Preparation
from services.git.inspection import check_out_tree
from services.git.mirror import Mirror
from services.git.objects import read_objects
from services.locks import locked
from services.preparation.kept import Kept
from services.preparation.merging import mounts_over
from services.preparation.result import (
    PreparationFailed,
    checked_paths,
    files_of,
    reduce_to_result,
    remove_files,
)
from services.processes.finishing import in_any_case
from services.sandbox import WORKSPACE, Job, Mount, Sandbox, remove_or_leave

_OUTPUT_CHARACTERS = 2500
_REGULAR_MODES = frozenset({b"100644", b"100755"})
_OVERHEAD_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A preparation, the commit that it runs on, and the commit whose lock files it is for."""

    preparation: Preparation
    base: str
    locks_of: str


@dataclass(frozen=True, slots=True)
class _Order:
    """All that a result depends on: the lock files as (path, blob), and whether the base has others."""

    mirror: Mirror
    preparation: Preparation
    base: str
    paths: tuple[PurePosixPath, ...]
    keyed_by: tuple[PurePosixPath, ...]
    locks: tuple[tuple[PurePosixPath, str], ...]
    locks_changed: bool

    def key(self, has_places: bool) -> str:
        given = {
            "repository": self.mirror.repository.address,
            "base": self.base,
            "argv": self.preparation.argv,
            "paths": [str(path) for path in self.paths],
            "locks": [(str(path), blob) for path, blob in self.locks],
            "in_place": not has_places,
        }
        return sha256(orjson.dumps(given)).hexdigest()[:32]


class Preparations:
    """Makes and lends results, which are kept under `root`; several processes may share it."""

    def __init__(self, sandbox: Sandbox, root: Path) -> None:
        self._sandbox = sandbox
        self._root = root

    @asynccontextmanager
    async def lent(
        self, mirror: Mirror, wanted: Wanted | None, tree: Path, say: Callable[[str], None]
    ) -> AsyncIterator[tuple[Mount, ...]]:
        """What to lend to jobs that work in `tree`, for as long as the block lasts; made where nobody has yet.

        The mirror holds both commits. Raises PreparationFailed, SandboxUnavailable.
        """
        if wanted is None:
            yield ()
            return
        order = await _order(mirror, wanted)
        kept = Kept(self._root, order.key(self._sandbox.has_places))
        limit_seconds = wanted.preparation.timeout_seconds + _OVERHEAD_SECONDS
        await asyncio.to_thread(self._root.mkdir, parents=True, exist_ok=True)
        while True:
            async with locked(kept.lock, shared=True, limit_seconds=limit_seconds):
                result = await asyncio.to_thread(kept.tree)
                if result is not None:
                    yield await asyncio.to_thread(mounts_over, tree, result, order.paths)
                    return
            async with locked(kept.lock, limit_seconds=limit_seconds):
                if await asyncio.to_thread(kept.tree) is None:
                    await self._make(order, kept, say)

    async def _make(self, order: _Order, kept: Kept, say: Callable[[str], None]) -> None:
        tree = await in_any_case(asyncio.to_thread(kept.begin))
        try:
            await check_out_tree(order.mirror, order.base, tree)
            await _lay_over(order, tree)
            base_files = await asyncio.to_thread(files_of, tree, order.paths)
            await self._run(order, tree, say)
            await in_any_case(asyncio.to_thread(reduce_to_result, tree, order.paths, base_files))
            await in_any_case(asyncio.to_thread(kept.finish, tree))
        except BaseException:
            await remove_or_leave(tree.parent)
            raise

    async def _run(self, order: _Order, tree: Path, say: Callable[[str], None]) -> None:
        say(f"[prepare] {' '.join(order.preparation.argv)}")
        job = Job(
            argv=order.preparation.argv,
            work_folder=tree,
            shown_at=WORKSPACE,
            network=True,
            limit_seconds=order.preparation.timeout_seconds,
            on_line=say,
        )
        done = await self._sandbox.run(job)
        if not done.succeeded:
            said = done.output.last_text(_OUTPUT_CHARACTERS)
            raise PreparationFailed(f"{done.reason}\n{said}", for_changed_locks=order.locks_changed)


async def _order(mirror: Mirror, wanted: Wanted) -> _Order:
    preparation = wanted.preparation
    keyed_by = checked_paths("keyed_by", preparation.keyed_by)
    locks = await _lock_files(mirror, wanted.locks_of, keyed_by)
    return _Order(
        mirror=mirror,
        preparation=preparation,
        base=wanted.base,
        paths=checked_paths("paths", preparation.paths),
        keyed_by=keyed_by,
        locks=locks,
        locks_changed=locks != await _lock_files(mirror, wanted.base, keyed_by),
    )


async def _lock_files(
    mirror: Mirror, commit: str, keyed_by: tuple[PurePosixPath, ...]
) -> tuple[tuple[PurePosixPath, str], ...]:
    """The files at and below these paths in a commit, with their blobs."""
    if not keyed_by:
        return ()
    listed = await mirror.git.run(
        mirror.place, "ls-tree", "-r", "-z", "--full-tree", commit, "--", *(str(path) for path in keyed_by)
    )
    entries = (entry.partition(b"\t") for entry in listed.stdout.split(b"\0") if entry)
    found = ((head.split(b" "), name.decode("utf-8", "surrogateescape")) for head, _, name in entries)
    return tuple((PurePosixPath(name), head[2].decode()) for head, name in found if head[0] in _REGULAR_MODES)


async def _lay_over(order: _Order, tree: Path) -> None:
    """Put the wanted lock files in the place of the base's: nothing else of an agent's is prepared for."""
    if not order.locks_changed:
        return
    found = await read_objects(order.mirror, [blob for _, blob in order.locks])
    contents = {path: blob.content for (path, _), blob in zip(order.locks, found, strict=True) if blob}
    await in_any_case(asyncio.to_thread(_replace, tree, order.keyed_by, contents))


def _replace(tree: Path, keyed_by: tuple[PurePosixPath, ...], contents: dict[PurePosixPath, bytes]) -> None:
    remove_files(tree, files_of(tree, keyed_by))
    for path, content in contents.items():
        target = tree / path
        if target.parent.resolve().is_relative_to(tree.resolve()):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
