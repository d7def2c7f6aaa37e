"""Mirrors and candidates as the workers share them: opened once, made again wherever they are missing."""

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from events.families.apply import CandidateOrigin
from events.families.base import ArtifactRef
from events.families.failure import FailureClass
from services.artifacts import ArtifactStore
from services.git.applying import Conflict
from services.git.candidate import (
    Candidate,
    CandidateIdentity,
    Made,
    NoChange,
    Unrepresentable,
    keep_candidate,
    make_candidate,
)
from services.git.command import GitCommand
from services.git.failures import (
    BaseMissing,
    ConfigurationUnreadable,
    GitFailed,
    GitFailure,
    GitOutputTooLarge,
    GitTimedOut,
    PatchTooLarge,
    RepositoryEmpty,
    RepositoryMissing,
    RepositoryUnreachable,
    RepositoryUnsupported,
)
from services.git.mirror import Mirror, fetch_commit, hold_commit, in_use, mark_used, open_mirror
from services.git.quarantine import Quarantine, keep_objects, open_quarantine
from services.git.reference_names import candidate_reference
from services.git.source import LocalRepository, Shape, shape_of

_PATCH_OPTIONS = ("--patch", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")

_CLASSES: dict[type[GitFailure], FailureClass] = {
    RepositoryMissing: FailureClass.REPOSITORY_MISSING,
    RepositoryUnsupported: FailureClass.REPOSITORY_MISSING,
    RepositoryEmpty: FailureClass.REPOSITORY_EMPTY,
    RepositoryUnreachable: FailureClass.REPOSITORY_UNREACHABLE,
    GitTimedOut: FailureClass.REPOSITORY_UNREACHABLE,
    GitOutputTooLarge: FailureClass.TOO_LARGE,
    BaseMissing: FailureClass.BASE_MISSING,
    ConfigurationUnreadable: FailureClass.CONFIGURATION,
    PatchTooLarge: FailureClass.TOO_LARGE,
}


def failure_class(error: GitFailure) -> FailureClass:
    """What a failure of git means for the run."""
    return _CLASSES.get(type(error), FailureClass.INTERNAL)


class CandidateDiffers(Exception):
    """Made again, the candidate is another commit: a patch, or a git, is not what it was."""


class PatchesConflict(Exception):
    """The patches do not apply one after another."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """The mirror of a folder, and the folder's shape from before it was opened."""

    address: str
    shape: Shape
    mirror: Mirror

    def stands(self) -> bool:
        """Whether both are still there. Blocking."""
        repository = self.mirror.repository
        there = not isinstance(repository, LocalRepository) or (repository.git_dir / "HEAD").exists()
        return there and shape_of(self.address) == self.shape and self.mirror.folder.exists()


class Candidates:
    """This machine's mirrors under `root`, and the candidates in them."""

    def __init__(self, git: GitCommand, root: Path, store: ArtifactStore) -> None:
        self._git = git
        self._root = root
        self._store = store
        self._opened: dict[str, _Opened] = {}

    async def mirror(self, address: str | None) -> Mirror:
        """The mirror of a repository; raises RepositoryMissing, RepositoryUnsupported.

        Git is asked for a folder's repository once, as long as it seems to be the same.
        """
        if address is None:
            raise RepositoryMissing("The run names none.")
        opened = self._opened.get(address)
        if opened is not None and await asyncio.to_thread(opened.stands):
            return opened.mirror
        shape = await asyncio.to_thread(shape_of, address)
        mirror = await open_mirror(self._git, self._root, address)
        if shape is not None:
            self._opened[address] = _Opened(address, shape, mirror)
        return mirror

    async def at_commit(self, address: str | None, commit: str) -> Mirror:
        """The mirror, holding a commit that stands in the repository. Raises GitFailure."""
        mirror = await self.mirror(address)
        await _bring(mirror, commit)
        return mirror

    async def patches(self, references: tuple[ArtifactRef, ...]) -> list[bytes]:
        """The bytes of patches, in order."""
        return [await self._store.get(reference.digest) for reference in references]

    async def make(
        self, quarantine: Quarantine, run_id: str, phase_id: str, origin: CandidateOrigin
    ) -> Made | Unrepresentable:
        """Make the candidate of an origin in a quarantine, nothing kept yet."""
        identity = candidate_identity(run_id, phase_id, origin)
        return await make_candidate(quarantine, origin.parent, await self.patches(origin.patches), identity)

    async def combined_diff(
        self, run_id: str, phase_id: str, address: str | None, origin: CandidateOrigin
    ) -> bytes:
        """All patches of an origin as one; raises PatchesConflict."""
        if len(origin.patches) == 1:
            return (await self.patches(origin.patches))[0]
        mirror = await self.at_commit(address, origin.parent)
        async with open_quarantine(mirror) as quarantine:
            made = await self.make(quarantine, run_id, phase_id, origin)
            made = made.rest if isinstance(made, Unrepresentable) else made
            if isinstance(made, Conflict):
                raise PatchesConflict(f"{', '.join(made.paths)}: {made.detail}")
            if isinstance(made, NoChange):
                return b""
            shown = await quarantine.git.run(
                quarantine.place, "diff-tree", "-r", *_PATCH_OPTIONS, origin.parent, made.commit
            )
            return shown.stdout

    async def holding(
        self, address: str | None, run_id: str, phase_id: str, origin: CandidateOrigin, commit: str
    ) -> Mirror:
        """The mirror, holding a candidate, which is made again where another machine made it."""
        mirror = await self.mirror(address)
        reference = candidate_reference(run_id, phase_id, origin.request_id)
        async with in_use(mirror):
            if await mark_used(mirror, reference, commit) or await hold_commit(mirror, commit):
                return mirror
        await _bring(mirror, origin.parent)
        async with open_quarantine(mirror) as quarantine:
            made = await self.make(quarantine, run_id, phase_id, origin)
            if not isinstance(made, Candidate) or made.commit != commit:
                raise CandidateDiffers(f"{commit} came out as {made}")
            await keep_objects(quarantine, commit)
            await keep_candidate(mirror, reference, commit)
        return mirror


async def _bring(mirror: Mirror, commit: str) -> None:
    try:
        await fetch_commit(mirror, commit)
    except GitFailed as error:
        raise RepositoryUnreachable(f"{commit} cannot be fetched: {error.stderr_tail}") from error


def candidate_identity(run_id: str, phase_id: str, origin: CandidateOrigin) -> CandidateIdentity:
    """All of a candidate but its tree; a function of the request alone."""
    return CandidateIdentity(
        run_id=run_id,
        phase_id=phase_id,
        attempt=origin.attempt,
        event_id=origin.request_id,
        patch_digest=_digest_of(origin.patches),
        recorded_at=origin.requested_at,
        subject=origin.title,
    )


def _digest_of(patches: tuple[ArtifactRef, ...]) -> str:
    """The digest of one patch; of several, the digest of their digests."""
    if len(patches) == 1:
        return patches[0].digest
    return f"sha256:{sha256(' '.join(patch.digest for patch in patches).encode()).hexdigest()}"
