"""Promotion: a branch of the target is moved forward to a commit, and never otherwise."""

from dataclasses import dataclass

from services.git.failures import GitFailure
from services.git.inspection import is_ancestor
from services.git.local_target import LocalTarget
from services.git.mirror import Mirror, fetch_commit
from services.git.reference_writing import write_references
from services.git.remote_target import RemoteTarget
from services.git.source import LocalRepository
from services.git.target import Move
from services.git.targets import target_of


@dataclass(frozen=True, slots=True)
class Promoted:
    """The branch is at the commit."""

    branch: str
    commit: str
    previous: str
    already: bool = False


@dataclass(frozen=True, slots=True)
class BranchMissing:
    """The target has no such branch."""

    branch: str


@dataclass(frozen=True, slots=True)
class NotFastForward:
    """The branch holds commits that the new head does not have."""

    branch: str
    actual: str


@dataclass(frozen=True, slots=True)
class BranchCheckedOut:
    """Somebody works on the branch in this folder; moving it would pull the ground from under them."""

    branch: str
    folder: str


@dataclass(frozen=True, slots=True)
class PromotionFailed:
    """The target could not be read, or refused."""

    detail: str


Promotion = Promoted | BranchMissing | NotFastForward | BranchCheckedOut | PromotionFailed


async def fast_forward(mirror: Mirror, branch: str, commit: str) -> Promotion:
    """Move `branch` (its short name) of the target to `commit`, if that is a fast-forward."""
    try:
        return await _fast_forward(mirror, branch, commit)
    except GitFailure as error:
        return PromotionFailed(str(error))


async def _fast_forward(mirror: Mirror, branch: str, commit: str) -> Promotion:
    reference = f"refs/heads/{branch}"
    target = target_of(mirror)
    actual = (await target.references(reference)).get(reference)
    if actual is None:
        return BranchMissing(branch)
    if actual == commit:
        return Promoted(branch, commit, actual, already=True)
    await fetch_commit(mirror, actual)
    if not await is_ancestor(mirror, actual, commit):
        return NotFastForward(branch, actual)
    folder = await _checked_out_in(mirror, reference)
    if folder is not None:
        return BranchCheckedOut(branch, folder)
    await _move(mirror, Move(reference, actual, commit))
    return Promoted(branch, commit, actual)


async def _checked_out_in(mirror: Mirror, reference: str) -> str | None:
    if not isinstance(mirror.repository, LocalRepository):
        return None  # a server decides for itself what may be pushed to
    listed = await mirror.git.run(mirror.repository.place, "worktree", "list", "--porcelain", "-z")
    for block in listed.stdout.decode("utf-8", "replace").split("\0\0"):
        lines = block.strip("\0").split("\0")
        if f"branch {reference}" in lines and "bare" not in lines:
            return lines[0].removeprefix("worktree ")
    return None


async def _move(mirror: Mirror, move: Move) -> None:
    match target_of(mirror):
        case LocalTarget() as local:
            await local.send_objects(move.new, move.old)
            await write_references(
                mirror, local.repository.place, f"update {move.reference} {move.new} {move.old}\n"
            )
        case RemoteTarget() as remote:
            await remote.push((move,))
