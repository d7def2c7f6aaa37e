"""Integration at the target: one compare-and-swap, whoever else is at it, however often it is redone."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from services.git import integration
from services.git.fence import Claim, Fence
from services.git.integration import (
    Diverged,
    HeadMoved,
    Integrated,
    Integration,
    InTheWay,
    Refused,
    Replaced,
    TagTaken,
    TargetState,
    TargetUnreachable,
    claim_fence,
    integrate,
    look_up,
    make_tag,
    move_branch,
)
from services.git.mirror import open_mirror
from services.git.targets import target_of
from support.repositories import Bench, added, git, make_bench, write

BRANCH = "refs/heads/autonomous/shop-1"
TAG = "refs/tags/autonomous/shop-1/tier-T1/phase-P1"
FENCE = "refs/autopack/fence/shop-1"


@pytest.fixture(params=["path", "bare", "url"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """A target by its path, a bare one, and one behind a URL."""
    if request.param == "path":
        return await make_bench(tmp_path)
    await make_bench(tmp_path, name="origin")
    git(tmp_path, "clone", "--quiet", "--bare", "origin", "repository")
    scheme = "file://" if request.param == "url" else ""
    return await make_bench(tmp_path, f"{scheme}{tmp_path}/repository")


def references(repository: Path) -> dict[str, str]:
    listed = git(repository, "for-each-ref", "--format=%(refname) %(objectname)")
    return dict(line.split(" ") for line in listed.splitlines())


async def test_a_candidate_arrives_as_branch_and_tag_and_nothing_else(bench: Bench) -> None:
    before = references(bench.repository)
    candidate = await added(bench)
    outcome = await integrate(bench.mirror, bench.order(candidate.commit))
    assert outcome == Integrated(candidate.commit, BRANCH, TAG)
    after = references(bench.repository)
    fence = after.pop(FENCE)
    assert after == {**before, BRANCH: candidate.commit, TAG: candidate.commit}
    assert git(bench.repository, "cat-file", "-t", fence) == "blob"
    git(bench.repository, "fsck", "--strict")


async def test_the_next_phase_goes_on_from_the_head(bench: Bench) -> None:
    first = await added(bench)
    await integrate(bench.mirror, bench.order(first.commit))
    second = await added(bench, "b", first.commit, phase_id="P2")
    order = bench.order(second.commit, first.commit, Claim("claim-2", "request-2"), phase_id="P2")
    assert isinstance(await integrate(bench.mirror, order), Integrated)
    assert references(bench.repository)[BRANCH] == second.commit
    assert references(bench.repository)[TAG] == first.commit


async def test_doing_it_again_is_success_and_changes_nothing(bench: Bench) -> None:
    candidate = await added(bench)
    await integrate(bench.mirror, bench.order(candidate.commit))
    before = references(bench.repository)
    again = await integrate(bench.mirror, bench.order(candidate.commit))
    other = await integrate(
        bench.mirror, bench.order(candidate.commit, claim=Claim("claim-2", "request-1", ("claim-1",)))
    )
    assert again == other == Integrated(candidate.commit, BRANCH, TAG, already=True)
    assert references(bench.repository) == before


class Crash(BaseException):
    """Stands for the death of the process."""


STEPS = ["claim_fence", "move_branch", "make_tag"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_crash_at_any_step_is_mended_by_doing_it_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str, moment: str
) -> None:
    candidate = await added(bench)
    real: Callable[..., Awaitable[object]] = getattr(integration, step)

    async def dying(*arguments: object) -> object:
        if moment == "after":
            await real(*arguments)
        raise Crash

    with monkeypatch.context() as patching:
        patching.setattr(integration, step, dying)
        with pytest.raises(Crash):
            await integrate(bench.mirror, bench.order(candidate.commit))
    successor = bench.order(candidate.commit, claim=Claim("claim-2", "request-1", ("claim-1",)))
    assert isinstance(await integrate(bench.mirror, successor), Integrated)
    found = references(bench.repository)
    assert found[BRANCH] == found[TAG] == candidate.commit
    git(bench.repository, "fsck", "--strict")


async def test_a_moved_head_is_named_and_left_alone(bench: Bench) -> None:
    first = await added(bench)
    await integrate(bench.mirror, bench.order(first.commit))
    other = await added(bench, "b", phase_id="P2")
    order = bench.order(other.commit, None, Claim("claim-2", "request-2"), phase_id="P2")
    assert await integrate(bench.mirror, order) == HeadMoved(first.commit)
    assert references(bench.repository)[BRANCH] == first.commit


async def test_a_branch_that_somebody_removed_is_named(bench: Bench) -> None:
    first = await added(bench)
    second = await added(bench, "b", first.commit, phase_id="P2")
    order = bench.order(second.commit, first.commit, phase_id="P2")
    assert await integrate(bench.mirror, order) == HeadMoved(None)


async def test_a_candidate_that_is_no_descendant_of_the_head_is_refused(bench: Bench) -> None:
    first = await added(bench)
    await integrate(bench.mirror, bench.order(first.commit))
    other = await added(bench, "b", phase_id="P2")
    order = bench.order(other.commit, first.commit, Claim("claim-2", "request-2"), phase_id="P2")
    assert await integrate(bench.mirror, order) == Diverged(first.commit)


async def test_a_tag_that_stands_for_something_else_is_named_and_nothing_moves(bench: Bench) -> None:
    git(bench.repository, "update-ref", TAG, bench.base)
    before = references(bench.repository)
    candidate = await added(bench)
    assert await integrate(bench.mirror, bench.order(candidate.commit)) == TagTaken(TAG, bench.base)
    assert references(bench.repository) == before


async def test_a_replaced_claimer_moves_nothing(bench: Bench) -> None:
    """It was stopped after it had set the fence, and goes on after another has taken over."""
    candidate = await added(bench)
    zombie = bench.order(candidate.commit, claim=Claim("claim-1", "request-1"))
    target = target_of(bench.mirror)
    value = await claim_fence(target, zombie, None)
    assert isinstance(value, Fence)
    successor = bench.order(candidate.commit, claim=Claim("claim-2", "request-1", ("claim-1",)))
    taken_over = await claim_fence(target, successor, value.value)
    assert isinstance(taken_over, Fence)
    for step in (move_branch, make_tag):
        assert await step(target, zombie, value) == Replaced("claim-2")
    assert await integrate(bench.mirror, zombie) == Replaced("claim-2")
    assert {BRANCH, TAG}.isdisjoint(references(bench.repository))
    assert isinstance(await integrate(bench.mirror, successor), Integrated)


async def test_a_claim_gives_way_only_to_one_that_names_it(bench: Bench) -> None:
    candidate = await added(bench)
    target = target_of(bench.mirror)
    standing = Claim("claim-1", "request-1", ("claim-0",))
    first = await claim_fence(target, bench.order(candidate.commit, claim=standing), None)
    assert isinstance(first, Fence)
    for refused in (Claim("claim-2", "request-1"), Claim("claim-2", "request-1", ("claim-0",))):
        order = bench.order(candidate.commit, claim=refused)
        assert await claim_fence(target, order, first.value) == Replaced("claim-1")
    named = Claim("claim-2", "request-1", ("claim-0", "claim-1"))
    successor = bench.order(candidate.commit, claim=named)
    assert isinstance(await claim_fence(target, successor, first.value), Fence)


async def test_requests_side_by_side_do_not_fence_each_other(bench: Bench) -> None:
    one, other = await added(bench), await added(bench, "b", phase_id="P2")
    first = bench.order(one.commit)
    second = bench.order(other.commit, None, Claim("claim-2", "request-2"), phase_id="P2")
    target = target_of(bench.mirror)
    fence = await claim_fence(target, first, None)
    assert isinstance(fence, Fence)
    await target.send_objects(one.commit, None)
    moved = await move_branch(target, first, fence)
    assert isinstance(moved, Fence)
    assert isinstance(await claim_fence(target, second, moved.value), Fence)
    assert isinstance(await make_tag(target, first, moved), Fence)
    assert await integrate(bench.mirror, second) == HeadMoved(one.commit)
    assert await integrate(bench.mirror, first) == Integrated(one.commit, BRANCH, TAG, already=True)


async def test_of_twenty_integrations_at_once_exactly_one_wins(bench: Bench) -> None:
    candidates = [await added(bench, f"f{number}", phase_id=f"P{number}") for number in range(20)]
    outcomes = await asyncio.gather(
        *(
            integrate(
                bench.mirror, bench.order(c.commit, None, Claim(f"claim-{n}", f"request-{n}"), phase_id=f"P{n}")
            )
            for n, c in enumerate(candidates)
        )
    )
    winners = [outcome for outcome in outcomes if isinstance(outcome, Integrated)]
    assert len(winners) == 1, outcomes
    assert references(bench.repository)[BRANCH] == winners[0].commit
    assert all(isinstance(outcome, Integrated | HeadMoved) for outcome in outcomes), outcomes
    git(bench.repository, "fsck", "--strict")


async def test_two_runs_on_one_repository_do_not_disturb_each_other(bench: Bench) -> None:
    async def run(run_id: str) -> str:
        head: str | None = None
        for number in range(4):
            phase = f"P{number}"
            made = await added(bench, f"{run_id}-{number}", head, run_id=run_id, phase_id=phase)
            order = bench.order(made.commit, head, Claim(f"c{number}", f"r{number}"), run_id, phase)
            outcome = await integrate(bench.mirror, order)
            assert isinstance(outcome, Integrated), outcome
            head = outcome.commit
        assert head is not None
        return head

    heads = await asyncio.gather(run("one"), run("two"))
    found = references(bench.repository)
    assert [found[f"refs/heads/autonomous/{name}"] for name in ("one", "two")] == heads
    git(bench.repository, "fsck", "--strict")


async def test_looking_up_tells_what_landed(bench: Bench) -> None:
    candidate = await added(bench)
    assert await look_up(bench.mirror, "shop-1", "T1", "P1") == TargetState(None, None, None)
    order = bench.order(candidate.commit)
    target = target_of(bench.mirror)
    value = await claim_fence(target, order, None)
    assert isinstance(value, Fence)
    await target.send_objects(order.commit, None)
    await move_branch(target, order, value)
    found = await look_up(bench.mirror, "shop-1", "T1", "P1")
    assert (found.branch, found.tag) == (candidate.commit, None)


async def test_another_machine_makes_the_same_commit_and_goes_on(bench: Bench, tmp_path: Path) -> None:
    candidate = await added(bench)
    first = bench.order(candidate.commit)
    value = await claim_fence(target_of(bench.mirror), first, None)
    assert isinstance(value, Fence)
    address = getattr(bench.mirror.repository, "address", "")
    other = await open_mirror(bench.mirror.git, tmp_path / "other-machine", address)
    elsewhere = Bench(bench.repository, other, bench.base)
    from services.git.preparation import prepare

    await prepare(other)
    again = await added(elsewhere)
    assert again.commit == candidate.commit
    assert await integrate(other, bench.order(again.commit, claim=Claim("claim-2", "request-1"))) == Replaced(
        "claim-1"
    )
    taken = bench.order(again.commit, claim=Claim("claim-2", "request-1", ("claim-1",)))
    assert isinstance(await integrate(other, taken), Integrated)
    assert await integrate(bench.mirror, first) == Integrated(candidate.commit, BRANCH, TAG, already=True)


async def test_ids_that_a_ref_cannot_hold_are_encoded(bench: Bench) -> None:
    candidate = await added(bench)
    order = Integration("shop-1", "Tür 1/a..b.lock", "P1", candidate.commit, None, Claim("c d\n", "r/%"))
    outcome = await integrate(bench.mirror, order)
    assert isinstance(outcome, Integrated)
    assert outcome.tag == "refs/tags/autonomous/shop-1/tier-T%C3%BCr%201%2Fa%2E.b%2Elock/phase-P1"


IN_THE_WAY = [
    "refs/heads/autonomous",
    f"{BRANCH}/wip",
    "refs/tags/autonomous",
    "refs/tags/autonomous/shop-1",
    "refs/tags/autonomous/shop-1/tier-T1",
    f"{TAG}/v1",
    "refs/autopack",
    "refs/autopack/fence",
    f"{FENCE}/old",
]


@pytest.mark.parametrize("name", IN_THE_WAY)
async def test_a_name_that_stands_in_the_way_is_told_before_anything_moves(bench: Bench, name: str) -> None:
    git(bench.repository, "update-ref", name, bench.base)
    before = references(bench.repository)
    assert await integrate(bench.mirror, bench.order((await added(bench)).commit)) == InTheWay(name)
    assert references(bench.repository) == before


async def test_names_that_only_look_alike_are_in_nobodys_way(bench: Bench) -> None:
    for name in ("refs/heads/autonomous/shop-10", "refs/heads/autonomous2", "refs/tags/autonomous/shop-1b/x"):
        git(bench.repository, "update-ref", name, bench.base)
    assert isinstance(await integrate(bench.mirror, bench.order((await added(bench)).commit)), Integrated)


async def test_a_name_in_the_way_that_git_does_not_list_is_a_refusal(tmp_path: Path) -> None:
    bench = await make_bench(tmp_path)
    git(bench.repository, "symbolic-ref", "refs/autopack/fence", "refs/heads/not-there")
    outcome = await integrate(bench.mirror, bench.order((await added(bench)).commit))
    assert isinstance(outcome, Refused)
    assert "refs/autopack/fence" in outcome.detail


@pytest.mark.parametrize("refused", ["refs/autopack", "refs/heads/autonomous", "refs/tags/autonomous"])
async def test_a_target_that_refuses_one_of_our_refs_is_not_taken_for_one_that_is_away(
    tmp_path: Path, refused: str
) -> None:
    await make_bench(tmp_path, name="origin")
    git(tmp_path, "clone", "--quiet", "--bare", "origin", "repository")
    bench = await make_bench(tmp_path, f"file://{tmp_path}/repository")
    git(bench.repository, "config", "receive.hideRefs", refused)
    commit = (await added(bench)).commit
    outcome = await integrate(bench.mirror, bench.order(commit))
    assert isinstance(outcome, Refused)
    assert "deny updating a hidden ref" in outcome.detail
    assert outcome.branch == references(bench.repository).get(BRANCH)
    assert (outcome.branch == commit) == (refused == "refs/tags/autonomous")


async def test_a_target_that_is_gone_is_told(bench: Bench) -> None:
    candidate = await added(bench)
    bench.repository.rename(bench.repository.with_name("gone"))
    outcome = await integrate(bench.mirror, bench.order(candidate.commit))
    assert isinstance(outcome, TargetUnreachable)


async def test_hooks_of_the_target_are_not_run(bench: Bench, tmp_path: Path) -> None:
    hooks = bench.repository / (".git" if (bench.repository / ".git").is_dir() else ".") / "hooks"
    for name in ("reference-transaction", "update", "pre-receive", "post-receive", "pre-push", "post-update"):
        write(hooks, {name: f"#!/bin/sh\ntouch {tmp_path}/hook-ran\n"})
        (hooks / name).chmod(0o755)
    await integrate(bench.mirror, bench.order((await added(bench)).commit))
    assert BRANCH in references(bench.repository)
    assert not (tmp_path / "hook-ran").exists()
    git(bench.repository, "update-ref", "refs/heads/other", bench.base)
    assert (tmp_path / "hook-ran").exists(), "the hook is no hook"
