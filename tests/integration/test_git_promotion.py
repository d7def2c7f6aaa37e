"""Promotion: forward or not at all."""

from pathlib import Path

import pytest

from services.git.candidate import Candidate
from services.git.promotion import (
    BranchCheckedOut,
    BranchMissing,
    NotFastForward,
    Promoted,
    PromotionFailed,
    fast_forward,
)
from support.repositories import Bench, commit, git, make_bench, new_file_patch


@pytest.fixture(params=["path", "url"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    await make_bench(tmp_path, name="origin")
    git(tmp_path, "clone", "--quiet", "--bare", "origin", "repository")
    return await make_bench(tmp_path, ("file://" if request.param == "url" else "") + f"{tmp_path}/repository")


async def add(bench: Bench) -> Candidate:
    return await bench.candidate(new_file_patch("a", "1\n"))


async def test_a_branch_is_moved_forward_and_again_without_effect(bench: Bench) -> None:
    candidate = await add(bench)
    assert await fast_forward(bench.mirror, "main", candidate.commit) == Promoted(
        "main", candidate.commit, bench.base
    )
    assert git(bench.repository, "rev-parse", "main") == candidate.commit
    again = await fast_forward(bench.mirror, "main", candidate.commit)
    assert again == Promoted("main", candidate.commit, candidate.commit, already=True)
    git(bench.repository, "fsck", "--strict")


async def test_a_branch_with_commits_of_its_own_is_not_moved(bench: Bench, tmp_path: Path) -> None:
    candidate = await add(bench)
    other = commit(tmp_path / "origin", {"b": "2"})
    git(tmp_path / "origin", "push", "--quiet", str(bench.repository), "main")
    assert await fast_forward(bench.mirror, "main", candidate.commit) == NotFastForward("main", other)
    assert git(bench.repository, "rev-parse", "main") == other


async def test_a_branch_that_is_not_there_is_not_made(bench: Bench) -> None:
    candidate = await add(bench)
    assert await fast_forward(bench.mirror, "release", candidate.commit) == BranchMissing("release")


async def test_a_target_that_is_gone_is_told(bench: Bench) -> None:
    candidate = await add(bench)
    bench.repository.rename(bench.repository.with_name("gone"))
    assert isinstance(await fast_forward(bench.mirror, "main", candidate.commit), PromotionFailed)


async def test_a_branch_that_somebody_has_checked_out_is_left_alone(tmp_path: Path) -> None:
    bench = await make_bench(tmp_path)
    candidate = await add(bench)
    outcome = await fast_forward(bench.mirror, "main", candidate.commit)
    assert outcome == BranchCheckedOut("main", str(bench.repository))
    assert git(bench.repository, "rev-parse", "main") == bench.base
    git(bench.repository, "checkout", "--quiet", "--detach")
    assert isinstance(await fast_forward(bench.mirror, "main", candidate.commit), Promoted)
