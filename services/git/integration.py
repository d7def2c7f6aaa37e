"""Integration: the one compare-and-swap, at the target.

The steps are functions of their own: the fence takes our claim, and beside that the objects are
sent, under no ref; then the branch moves, then the tag is made. Any of them may be the last before
a crash; doing it all again finds what is done and does the rest. No other ref of the target is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from events.failpoints import failpoint
from services.git.failures import CommitMissing, FenceUnreadable, GitFailed, GitFailure
from services.git.fence import Claim, Fence, Ledger, read_ledger
from services.git.inspection import is_ancestor
from services.git.mirror import Mirror
from services.git.reference_names import branch_reference, fence_reference, tag_reference
from services.git.refusals import is_refusal
from services.git.standing import standing
from services.git.target import Move, Target
from services.git.targets import target_of
from services.processes.finishing import side_by_side

TRIES = 60


@dataclass(frozen=True, slots=True)
class Integration:
    """What is to be integrated: a candidate onto the head that it was made for (None: no branch yet)."""

    run_id: str
    tier_id: str
    phase_id: str
    commit: str
    expected_head: str | None
    claim: Claim

    @property
    def branch(self) -> str:
        """The integration branch's full name."""
        return branch_reference(self.run_id)

    @property
    def tag(self) -> str:
        """The snapshot tag's full name."""
        return tag_reference(self.run_id, self.tier_id, self.phase_id)

    @property
    def fence(self) -> str:
        """The fence's full name."""
        return fence_reference(self.run_id)


@dataclass(frozen=True, slots=True)
class Integrated:
    """Branch and tag are at the commit; `already` when nothing had to be done."""

    commit: str
    branch: str
    tag: str
    already: bool = False


@dataclass(frozen=True, slots=True)
class HeadMoved:
    """The branch is not where the candidate was made for; None when it does not exist."""

    actual: str | None


@dataclass(frozen=True, slots=True)
class Diverged:
    """The candidate does not have the expected head in its history: moving there is no fast-forward."""

    expected_head: str


@dataclass(frozen=True, slots=True)
class TagTaken:
    """The branch has moved, but the tag's name stands for another commit."""

    tag: str
    actual: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """Another claim stands for the same request (None: the fence could not be got hold of)."""

    by: str | None


@dataclass(frozen=True, slots=True)
class Foreign:
    """The branch belongs to a run of the same id in another project."""

    project: str


@dataclass(frozen=True, slots=True)
class InTheWay:
    """A ref of another name leaves no room for one of ours."""

    reference: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The target can be read, and will not have it: a rule or a missing right. The branch is at `branch`."""

    detail: str
    branch: str | None


@dataclass(frozen=True, slots=True)
class TargetUnreachable:
    """The target could not be read or written; what did happen is to be looked up."""

    detail: str


Refusal = HeadMoved | Diverged | TagTaken | Replaced | Foreign | InTheWay | Refused | TargetUnreachable
Outcome = Integrated | Refusal


@dataclass(frozen=True, slots=True)
class TargetState:
    """Where a run's refs stand at the target."""

    branch: str | None
    tag: str | None
    fence: str | None


async def look_up(mirror: Mirror, run_id: str, tier_id: str, phase_id: str) -> TargetState:
    """Where branch, tag and fence stand; raises GitFailure when the target cannot be read. One process."""
    names = (branch_reference(run_id), tag_reference(run_id, tier_id, phase_id), fence_reference(run_id))
    found = await target_of(mirror).references(*names)
    return TargetState(*(found.get(name) for name in names))


async def integrate(mirror: Mirror, order: Integration) -> Outcome:
    """Move the run's branch to the candidate, then tag it. May be repeated at any time.

    Raises CommitMissing when the mirror does not hold the candidate, or the expected head.
    """
    target = target_of(mirror)
    try:
        return await _integrate(mirror, target, order)
    except CommitMissing:
        raise
    except GitFailure as error:
        return await _explain(target, order, error)


async def _integrate(mirror: Mirror, target: Target, order: Integration) -> Outcome:
    seen, descends = await side_by_side(
        standing(target, order.branch, order.tag, order.fence), _descends(mirror, order)
    )
    found = seen.found
    if found.get(order.tag) == order.commit:
        return Integrated(order.commit, order.branch, order.tag, already=True)
    if seen.in_the_way:
        return InTheWay(seen.in_the_way[0])
    refusal = _why_not(order, found, descends)
    if refusal is not None:
        return _foreign(order, await _read_ledger(target, order, found.get(order.fence))) or refusal
    claiming = _claimed(target, order, found.get(order.fence))
    if is_moved := found.get(order.branch) == order.commit:
        fence = await claiming
    else:
        # Objects that no ref leads to are no matter, should the claim be refused.
        fence, _ = await side_by_side(claiming, target.send_objects(order.commit, order.expected_head))
    if isinstance(fence, Fence) and not is_moved:
        fence = await move_branch(target, order, fence)
        failpoint("branch-moved")
    if isinstance(fence, Fence):
        fence = await make_tag(target, order, fence)
        failpoint("tag-made")
    return Integrated(order.commit, order.branch, order.tag) if isinstance(fence, Fence) else fence


def _foreign(order: Integration, ledger: Ledger) -> Foreign | None:
    return Foreign(ledger.project or "") if ledger.is_foreign_to(order.claim) else None


async def _descends(mirror: Mirror, order: Integration) -> bool | CommitMissing:
    """Whether moving from the expected head to the candidate is a fast-forward."""
    try:
        return order.expected_head is None or await is_ancestor(mirror, order.expected_head, order.commit)
    except CommitMissing as missing:  # no matter where all has been done already
        return missing


def _why_not(order: Integration, found: Mapping[str, str], descends: bool | CommitMissing) -> Refusal | None:
    """What stands in the way before anything is written; raises CommitMissing."""
    if found.get(order.branch) not in (order.commit, order.expected_head):
        return HeadMoved(found.get(order.branch))
    if order.tag in found:
        return TagTaken(order.tag, found[order.tag])
    if isinstance(descends, CommitMissing):
        raise descends
    return None if descends or order.expected_head is None else Diverged(order.expected_head)


async def _claimed(target: Target, order: Integration, standing: str | None) -> Fence | Replaced | Foreign:
    fence = await claim_fence(target, order, standing)
    failpoint("fence-set")
    return fence


async def claim_fence(target: Target, order: Integration, standing: str | None) -> Fence | Replaced | Foreign:
    """Make our claim the one that stands for its request; returns the fence, or who has replaced us."""
    for _ in range(TRIES):
        try:
            return await _claim_once(target, order, standing)
        except (GitFailed, FenceUnreadable):
            # Another request's claim may have come in between; it does not stand in our way.
            seen = (await target.references(order.fence)).get(order.fence)
            if seen == standing:
                raise
            standing = seen
    return Replaced(None)


async def _claim_once(target: Target, order: Integration, standing: str | None) -> Fence | Replaced | Foreign:
    claim, ledger = order.claim, await _read_ledger(target, order, standing)
    if (foreign := _foreign(order, ledger)) is not None:
        return foreign
    line = ledger.line(claim.request_id)
    if standing is not None and line is not None and line.claim_id == claim.claim_id:
        return Fence(standing, ledger)
    if line is not None and not claim.may_follow(line):
        return Replaced(line.claim_id)
    return await target.set_fence(order.fence, ledger.with_claim(claim), standing)


async def move_branch(target: Target, order: Integration, fence: Fence) -> Fence | Replaced | Foreign:
    """Move the branch, if the head is the expected one and our claim stands."""
    return await _move(target, order, Move(order.branch, order.expected_head, order.commit), fence)


async def make_tag(target: Target, order: Integration, fence: Fence) -> Fence | Replaced | Foreign:
    """Make the tag, if there is none and our claim stands."""
    return await _move(target, order, Move(order.tag, None, order.commit), fence)


async def _move(target: Target, order: Integration, move: Move, fence: Fence) -> Fence | Replaced | Foreign:
    """Move a ref under the fence, again when only another request's claim has changed the fence."""
    for _ in range(TRIES):
        try:
            return await target.move(move, order.fence, fence)
        except GitFailed as error:
            seen = await target.references(move.reference, order.fence)
            # Of refs that it hides, git refuses one and moves the other, however atomic the push.
            fenced_anew = seen.get(move.reference) == move.old and seen.get(order.fence) != fence.value
            if is_refusal(error.stderr_tail) or not fenced_anew:
                raise
            claimed = await claim_fence(target, order, seen.get(order.fence))
            if not isinstance(claimed, Fence):
                return claimed
            fence = claimed
    return Replaced(None)


async def _read_ledger(target: Target, order: Integration, standing: str | None) -> Ledger:
    """The ledger at the fence, an empty one where none stands. Raises where it cannot be read: it may say no."""
    if standing is None:
        return Ledger()
    blob = await target.read_blob(standing, order.fence)
    if blob is None:
        raise FenceUnreadable(standing)
    return read_ledger(blob)


async def _explain(target: Target, order: Integration, error: GitFailure) -> Outcome:
    """After a failure only the target knows what happened: look, and name it."""
    try:
        found = await target.references(order.branch, order.tag, order.fence)
        ledger = await _read_ledger(target, order, found.get(order.fence))
    except GitFailure as second:
        return TargetUnreachable(f"{error} {second}")
    if found.get(order.tag) == order.commit:
        return Integrated(order.commit, order.branch, order.tag)
    if (foreign := _foreign(order, ledger)) is not None:
        return foreign
    if order.tag in found:
        return TagTaken(order.tag, found[order.tag])
    line = ledger.line(order.claim.request_id)
    if line is not None and not order.claim.may_follow(line):
        return Replaced(line.claim_id)
    if found.get(order.branch) not in (order.commit, order.expected_head):
        return HeadMoved(found.get(order.branch))
    if isinstance(error, GitFailed) and is_refusal(error.stderr_tail):
        return Refused(error.stderr_tail.strip(), found.get(order.branch))
    return TargetUnreachable(str(error))
