"""`[prepare]`: run once for a base commit and its lock files, with network; its result is lent read-only."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from events.configuration import Preparation
from events.families.verify import ChecksRequested
from services.git.inspection import check_out_tree
from services.git.locks import locked
from services.git.mirror import Mirror
from services.git.objects import read_objects
from services.sandbox import Job, Mount, Sandbox, remove_folder

_OUTPUT_CHARACTERS = 2500


class PreparationFailed(Exception):
    """The preparation that autopack.toml asks for did not end well."""


class Preparations:
    """The kept results of preparations, under `root`, one folder for each key."""

    def __init__(self, sandbox: Sandbox, root: Path) -> None:
        self._sandbox = sandbox
        self._root = root

    async def for_candidate(
        self, mirror: Mirror, data: ChecksRequested, say: Callable[[str], None]
    ) -> tuple[Mount, ...]:
        """What to show in the checks' sandbox; made first where nobody has yet. Raises PreparationFailed."""
        preparation = data.prepare
        if preparation is None or data.base_commit is None:
            return ()
        key = await _key(mirror, data.base_commit, data.candidate, preparation)
        kept = self._root / key
        if not kept.exists():
            await asyncio.to_thread(self._root.mkdir, parents=True, exist_ok=True)
            async with locked(self._root / f"{key}.lock"):
                if not kept.exists():
                    await self._prepare(mirror, data, preparation, kept, say)
        return await asyncio.to_thread(_mounts, kept, preparation.paths)

    async def _prepare(
        self,
        mirror: Mirror,
        data: ChecksRequested,
        preparation: Preparation,
        kept: Path,
        say: Callable[[str], None],
    ) -> None:
        draft = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="draft-", dir=self._root))
        tree = draft / "tree"
        try:
            await check_out_tree(mirror, data.base_commit or data.candidate, tree)
            await _lay_over(mirror, data.candidate, preparation, tree)
            job = Job(
                argv=preparation.argv,
                work_folder=tree,
                network=True,
                limit_seconds=preparation.timeout_seconds,
                on_line=say,
            )
            done = await self._sandbox.run(job)
            if not done.succeeded:
                said = done.output.last_text(_OUTPUT_CHARACTERS)
                raise PreparationFailed(f"[prepare] {done.reason}\n{said}")
            await asyncio.to_thread(_keep, tree, preparation.paths, draft / "kept", kept)
        finally:
            await asyncio.to_thread(remove_folder, draft)


def _mounts(kept: Path, paths: tuple[str, ...]) -> tuple[Mount, ...]:
    return tuple(Mount(kept / path, Path(path)) for path in paths if (kept / path).exists())


async def _key(mirror: Mirror, base: str, candidate: str, preparation: Preparation) -> str:
    """The same repository, base, command and lock files have the same result."""
    names = [f"{candidate}:{path}" for path in preparation.keyed_by]
    locks = await read_objects(mirror, names)
    digest = sha256(f"{mirror.repository.address}\0{base}\0{preparation.model_dump_json()}".encode())
    for lock in locks:
        digest.update(b"\0" + (lock.object_id.encode() if lock else b"-"))
    return digest.hexdigest()[:32]


async def _lay_over(mirror: Mirror, candidate: str, preparation: Preparation, tree: Path) -> None:
    """Put the candidate's lock files over the base: they, and nothing else of an agent's, are prepared for."""
    found = await read_objects(mirror, [f"{candidate}:{path}" for path in preparation.keyed_by])
    for path, lock in zip(preparation.keyed_by, found, strict=True):
        target = (tree / path).resolve()
        if lock is not None and lock.kind == "blob" and target.is_relative_to(tree.resolve()):
            await asyncio.to_thread(_write, target, lock.content)


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def _keep(tree: Path, paths: tuple[str, ...], draft: Path, kept: Path) -> None:
    """Move the named paths out of the tree, then show them under their key, all at once."""
    draft.mkdir()
    for path in paths:
        source = tree / path
        if source.exists() and source.resolve().is_relative_to(tree.resolve()):
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source, draft / path)
    draft.rename(kept)
