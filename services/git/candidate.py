"""Candidate commits: a pure function of parent, patches and identity.

Doing it again, here or on another machine, gives the same SHA. That is what makes a crash between
git and the log harmless, and lets a verifier elsewhere make the commit itself and compare.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.git.applying import Conflict, apply_patch
from services.git.failures import CommitMissing, GitFailed, PatchTooLarge
from services.git.message import commit_message
from services.git.mirror import Mirror, has_commit, keep_reference
from services.git.quarantine import Quarantine
from services.git.tree_changes import TreeChange, tree_changes
from services.git.unpacking import unpacked_bytes
from services.processes.finishing import side_by_side

UNPACKED_LIMIT_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CandidateIdentity:
    """All of a candidate but its tree and parent. `recorded_at` is the event's time, never ours."""

    run_id: str
    phase_id: str
    attempt: int
    event_id: str
    patch_digest: str
    recorded_at: datetime
    subject: str
    body: str = ""
    author_name: str = "Autopack"
    author_email: str = "autopack@localhost"

    def __post_init__(self) -> None:
        if self.recorded_at.tzinfo is None:
            raise ValueError("a time without a zone would depend on the machine")

    @property
    def trailers(self) -> tuple[tuple[str, str], ...]:
        """What the commit says about where it comes from."""
        return (
            ("Autopack-Run", self.run_id),
            ("Autopack-Phase", self.phase_id),
            ("Autopack-Attempt", str(self.attempt)),
            ("Autopack-Event", self.event_id),
            ("Autopack-Patch", self.patch_digest),
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A commit that exists, with its tree and what it changes in its parent."""

    commit: str
    tree: str
    parent: str
    changes: tuple[TreeChange, ...]


@dataclass(frozen=True, slots=True)
class Unrepresentable:
    """The patch names paths that no tree of git's may hold; `rest` is what became of the others."""

    paths: tuple[bytes, ...]
    rest: "Made"


@dataclass(frozen=True, slots=True)
class NoChange:
    """With the patch applied, the tree is the parent's."""

    parent: str


Made = Candidate | Conflict | NoChange


async def make_candidate(
    quarantine: Quarantine, parent: str, patches: Sequence[bytes], identity: CandidateIdentity
) -> Made | Unrepresentable:
    """Apply the patches in order to `parent`, and commit the result into the quarantine.

    The patches merge three-way where the parent has moved since they were made; the blobs that
    this needs belong to the parent's history, so every mirror that has the parent has them too.
    Raises CommitMissing, PatchTooLarge.
    """
    _check_size(patches)
    await _read_parent(quarantine, parent)
    refused: list[bytes] = []
    for patch in patches:
        outcome = await apply_patch(quarantine, patch)
        refused.extend(outcome.refused)
        if outcome.conflict is not None:
            return Unrepresentable(tuple(refused), outcome.conflict) if refused else outcome.conflict
    made = await _commit(quarantine, parent, identity)
    return Unrepresentable(tuple(refused), made) if refused else made


async def keep_candidate(mirror: Mirror, reference: str, commit: str) -> None:
    """Set the candidate's ref in the mirror; setting it again to the same commit is as good. No process."""
    await keep_reference(mirror, reference, commit)


def _check_size(patches: Sequence[bytes]) -> None:
    total = sum(map(unpacked_bytes, patches))
    if total > UNPACKED_LIMIT_BYTES:
        raise PatchTooLarge(f"{total} bytes, where {UNPACKED_LIMIT_BYTES} are allowed.")


async def _read_parent(quarantine: Quarantine, parent: str) -> None:
    try:
        await quarantine.git.run(quarantine.place, "read-tree", parent, durable=False)
    except GitFailed as error:
        if await has_commit(quarantine.mirror, parent):
            raise
        raise CommitMissing(parent) from error


async def _commit(quarantine: Quarantine, parent: str, identity: CandidateIdentity) -> Candidate | NoChange:
    written = await quarantine.git.run(quarantine.place, "write-tree", durable=False)
    tree = written.stdout.decode().strip()
    changes, commit = await side_by_side(
        tree_changes(quarantine, parent, tree), _committed(quarantine, parent, tree, identity)
    )
    return Candidate(commit, tree, parent, changes) if changes else NoChange(parent)


async def _committed(quarantine: Quarantine, parent: str, tree: str, identity: CandidateIdentity) -> str:
    committed = await quarantine.git.run(
        quarantine.place,
        "commit-tree",
        "-p",
        parent,
        tree,
        stdin=commit_message(identity.subject, identity.body, identity.trailers).encode(),
        durable=False,
        environment=_signature(identity),
    )
    return committed.stdout.decode().strip()


def _signature(identity: CandidateIdentity) -> dict[str, str]:
    date = f"@{int(identity.recorded_at.timestamp())} +0000"
    return {
        "GIT_AUTHOR_NAME": identity.author_name,
        "GIT_AUTHOR_EMAIL": identity.author_email,
        "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_NAME": identity.author_name,
        "GIT_COMMITTER_EMAIL": identity.author_email,
        "GIT_COMMITTER_DATE": date,
    }
