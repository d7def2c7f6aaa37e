import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from events.families.apply import CandidateOrigin, PatchAccepted
from events.families.failure import FailureClass
from events.families.integrate import IntegrationFailed, SnapshotCreated
from events.refs import integration_branch, snapshot_tag
from services.git.fence import Claim
from services.git.integration import Integration, TargetUnreachable, claim_fence
from services.git.targets import target_of
from services.runner.worker import WorkReplaced
from support.repositories import commit, git, new_file_patch
from support.workers import RUN, Home, open_home

BRANCH = f"refs/heads/{integration_branch(RUN)}"
TAG = f"refs/tags/{snapshot_tag(RUN, 'T1', 'P1')}"
Made = tuple[PatchAccepted, CandidateOrigin]


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return await open_home(tmp_path, "none")


async def made(home: Home, name: str = "a", **changes: Any) -> Made:
    return await home.accepted([await home.store.put(new_file_patch(name, f"{name}\n"))], **changes)


async def integrated(
    home: Home, candidate: Made, head: str | None = None, assignment: dict[str, Any] | None = None, **request: Any
) -> SnapshotCreated | IntegrationFailed:
    asked = home.integration_request(*candidate, head=head, **request)
    answer = await home.applier().perform(home.assignment(asked, **(assignment or {})))
    assert isinstance(answer, SnapshotCreated | IntegrationFailed)
    return answer


def references(home: Home) -> dict[str, str]:
    words = git(home.repository, "for-each-ref", "--format=%(refname) %(objectname)").split()
    return dict(zip(words[::2], words[1::2], strict=True))


async def test_a_candidate_becomes_the_branch_and_its_tag_and_nothing_else_moves(home: Home):
    before = references(home)
    candidate = await made(home)
    answer = await integrated(home, candidate)
    assert isinstance(answer, SnapshotCreated)
    assert (answer.commit, answer.tag, answer.unchecked) == (
        candidate[0].candidate,
        snapshot_tag(RUN, "T1", "P1"),
        False,
    )
    after = references(home)
    assert (after[BRANCH], after[TAG]) == (answer.commit, answer.commit)
    moved = {name for name in after if after[name] != before.get(name)}
    assert moved == {BRANCH, TAG, f"refs/autopack/fence/{RUN}"}
    assert git(home.repository, "status", "--porcelain") == ""
    assert git(home.repository, "fsck", "--strict") == ""


async def test_the_next_phase_goes_on_from_the_head(home: Home):
    first = await integrated(home, await made(home))
    assert isinstance(first, SnapshotCreated)
    second = await made(home, "b", parent=first.commit)
    answer = await integrated(home, second, first.commit, {"request_id": "second"}, phase_id="P2")
    assert isinstance(answer, SnapshotCreated)
    assert git(home.repository, "rev-list", "--count", f"{home.base}..{BRANCH}") == "2"


async def test_integrating_again_is_success(home: Home):
    candidate = await made(home)
    first = await integrated(home, candidate)
    again = await integrated(home, candidate)
    assert isinstance(again, SnapshotCreated)
    assert (again.commit, again.tag) == (first.commit, first.tag)


@pytest.mark.parametrize("crash_after", ["the fence", "the branch"])
async def test_a_crash_on_the_way_is_mended_by_doing_it_again(home: Home, crash_after: str):
    candidate = await made(home)
    mirror = await home.candidates.mirror(str(home.repository))
    claim = Claim("claim-1", "integration")
    order = Integration(RUN, "T1", "P1", candidate[0].candidate, None, claim)
    await claim_fence(target_of(mirror), order, None)
    if crash_after == "the branch":
        await target_of(mirror).send_objects(candidate[0].candidate, None)
        git(home.repository, "update-ref", BRANCH, candidate[0].candidate)
    again = {"request_id": "integration", "claim_id": "claim-2", "earlier_claim_ids": ("claim-1",)}
    answer = await integrated(home, candidate, None, again)
    assert isinstance(answer, SnapshotCreated)
    assert references(home)[TAG] == answer.commit


async def test_a_head_that_moved_forward_is_told_with_the_new_head(home: Home):
    first = await integrated(home, await made(home))
    assert isinstance(first, SnapshotCreated)
    late = await made(home, "b")
    answer = await integrated(home, late, None, {"request_id": "late"}, phase_id="P2")
    assert isinstance(answer, IntegrationFailed)
    assert (answer.failure, answer.head) == (FailureClass.MOVED, first.commit)
    assert references(home)[BRANCH] == first.commit


async def test_a_head_that_somebody_moved_by_hand_is_told(home: Home):
    first = await integrated(home, await made(home))
    assert isinstance(first, SnapshotCreated)
    git(home.repository, "checkout", "--quiet", integration_branch(RUN))
    by_hand = commit(home.repository, {"by-hand": "1\n"})
    git(home.repository, "checkout", "--quiet", "main")
    second = await made(home, "b", parent=first.commit)
    answer = await integrated(home, second, first.commit, {"request_id": "second"}, phase_id="P2")
    assert isinstance(answer, IntegrationFailed)
    assert (answer.failure, answer.head) == (FailureClass.MOVED, by_hand)


@pytest.mark.parametrize("how", ["rewritten", "removed"])
async def test_a_branch_that_somebody_rewrote_or_removed_has_diverged(home: Home, how: str):
    first = await integrated(home, await made(home))
    assert isinstance(first, SnapshotCreated)
    second = await made(home, "b", parent=first.commit)
    if how == "rewritten":
        git(home.repository, "update-ref", BRANCH, commit(home.repository, {"other": "1\n"}))
    else:
        git(home.repository, "update-ref", "-d", BRANCH)
    standing = references(home).get(BRANCH)
    answer = await integrated(home, second, first.commit, {"request_id": "second"}, phase_id="P2")
    assert isinstance(answer, IntegrationFailed)
    assert (answer.failure, answer.head) == (FailureClass.DIVERGED, None)
    assert how in answer.reason
    assert references(home).get(BRANCH) == standing


async def test_a_tag_that_stands_for_something_else_stops_the_integration(home: Home):
    git(home.repository, "update-ref", TAG, home.base)
    answer = await integrated(home, await made(home))
    assert isinstance(answer, IntegrationFailed)
    assert answer.failure is FailureClass.DIVERGED
    assert snapshot_tag(RUN, "T1", "P1") in answer.reason
    assert BRANCH not in references(home)


async def test_a_name_in_the_way_ends_the_run_instead_of_being_waited_for(home: Home):
    git(home.repository, "branch", "autonomous")
    answer = await integrated(home, await made(home))
    assert isinstance(answer, IntegrationFailed)
    assert answer.failure is FailureClass.BRANCH_TAKEN
    assert answer.failure.is_environment
    assert "refs/heads/autonomous leaves no room" in answer.reason
    assert "remove it" in answer.reason


async def test_a_refusing_target_ends_the_run_with_what_it_said(home: Home):
    git(home.repository, "config", "receive.hideRefs", "refs/heads/autonomous")
    address = f"file://{home.repository}"
    candidate = await made(home, repository=address)
    answer = await integrated(home, candidate, repository=address)
    assert isinstance(answer, IntegrationFailed)
    assert answer.failure is FailureClass.TARGET_REFUSED
    assert answer.failure.is_environment
    assert f"{BRANCH} is not there" in answer.reason
    assert "deny updating a hidden ref" in answer.reason


async def test_work_that_another_claim_has_taken_over_is_left_to_it(home: Home):
    candidate = await made(home)
    mirror = await home.candidates.mirror(str(home.repository))
    successor = Claim("claim-2", "integration", ("claim-1",))
    await claim_fence(
        target_of(mirror), Integration(RUN, "T1", "P1", candidate[0].candidate, None, successor), None
    )
    with pytest.raises(WorkReplaced):
        await integrated(home, candidate, None, {"request_id": "integration", "claim_id": "claim-1"})
    assert {BRANCH, TAG}.isdisjoint(references(home))


async def test_a_claim_stands_for_all_that_were_replaced_before_it(home: Home):
    """The first got hold of the fence and died; the second died before it came so far."""
    candidate = await made(home)
    mirror = await home.candidates.mirror(str(home.repository))
    first = Integration(RUN, "T1", "P1", candidate[0].candidate, None, Claim("claim-1", "integration"))
    await claim_fence(target_of(mirror), first, None)
    third = {"request_id": "integration", "claim_id": "claim-3", "earlier_claim_ids": ("claim-1", "claim-2")}
    answer = await integrated(home, candidate, None, third)
    assert isinstance(answer, SnapshotCreated)


async def test_a_claim_that_set_the_fence_and_never_came_to_the_history_is_followed_in_the_end(home: Home):
    """Its claimer was killed, the claim still on its way. The first after it cannot know that, the next can."""
    candidate = await made(home)
    mirror = await home.candidates.mirror(str(home.repository))
    lost = Integration(RUN, "T1", "P1", candidate[0].candidate, None, Claim("lost", "integration"))
    await claim_fence(target_of(mirror), lost, None)
    with pytest.raises(WorkReplaced):
        await integrated(home, candidate, None, {"request_id": "integration", "claim_id": "claim-2"})
    third = {"request_id": "integration", "claim_id": "claim-3", "earlier_claim_ids": ("claim-2",)}
    answer = await integrated(home, candidate, None, third)
    assert isinstance(answer, SnapshotCreated)


async def test_another_machine_makes_the_candidate_again_and_integrates_it(home: Home):
    candidate = await made(home)
    answer = await integrated(home.elsewhere("second-home"), candidate)
    assert isinstance(answer, SnapshotCreated)
    assert answer.commit == candidate[0].candidate


async def test_a_target_that_is_away_is_waited_for(home: Home):
    candidate = await made(home)
    away = home.repository.with_name("away")
    home.repository.rename(away)
    assignment = home.assignment(home.integration_request(*candidate))
    running = asyncio.create_task(home.applier().perform(assignment))
    async with asyncio.timeout(20):
        await assignment.standing_by.wait()
    assert not running.done()
    away.rename(home.repository)
    answer = await asyncio.wait_for(running, 30)
    assert isinstance(answer, SnapshotCreated)


async def test_of_targets_that_are_away_a_few_are_tried_at_a_time(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try may hold a process of git for minutes, and there may be any number of runs that wait."""
    candidate, applier = await made(home), home.applier()
    tried: list[str] = []
    trying: set[str] = set()
    at_once: list[int] = []

    async def silent(_: object, order: Integration) -> TargetUnreachable:
        if order.claim.claim_id in tried:
            trying.add(order.claim.claim_id)
            at_once.append(len(trying))
        tried.append(order.claim.claim_id)
        for _ in range(40):  # so that two meet, however slowly they come
            await asyncio.sleep(0.05)
            if len(trying) != 1:
                break
        trying.discard(order.claim.claim_id)
        return TargetUnreachable("no answer")

    monkeypatch.setattr("services.applier.integrating.integrate", silent)
    asked = home.integration_request(*candidate)
    assignments = [home.assignment(asked, claim_id=f"claim-{number}") for number in range(6)]
    running = [asyncio.create_task(applier.perform(one)) for one in assignments]
    async with asyncio.timeout(30):
        while len(at_once) < 12:
            await asyncio.sleep(0.01)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    assert max(at_once) == 2


async def test_a_cancelled_wait_leaves_nothing(home: Home):
    candidate = await made(home)
    shutil.move(home.repository, home.repository.with_name("away"))
    running = asyncio.create_task(integrated(home, candidate))
    await asyncio.wait([running], timeout=0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert home.left_over() == []


async def test_of_an_integration_nobody_says_that_it_failed_without_having_looked(home: Home):
    request = home.integration_request(*await made(home))
    assert home.applier().failed(home.assignment(request), FailureClass.INTERNAL, "a fault of ours") is None
