"""A fence that cannot be read may keep us away: it never counts as an empty one."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from services.git.command import GitCommand, GitSettings
from services.git.fence import Claim, Fence
from services.git.integration import Integrated, Replaced, TargetUnreachable, claim_fence, integrate
from services.git.mirror import Mirror, open_mirror
from services.git.preparation import prepare
from services.git.targets import target_of
from support.repositories import Bench, added, git, make_bench

FENCE = "refs/autopack/fence/shop-1"
OURS = Claim("claim-2", "request-1")
THEIRS = Claim("claim-1", "request-1")
NO_NETWORK = """\
#!/bin/sh
case " $* " in *" fetch "*)
    echo >>"{folder}/fetches"
    [ "$(wc -l <"{folder}/fetches")" -gt {times} ] || {{ echo "fatal: unable to access it" >&2; exit 128; }}
esac
exec "{git}" "$@"
"""


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    """A target behind a URL, as another machine sees it; a third has set the fence there."""
    bench = await make_bench(tmp_path, f"file://{tmp_path}/repository")
    assert isinstance(
        await claim_fence(target_of(bench.mirror), bench.order(bench.base, claim=THEIRS), None), Fence
    )
    other = await open_mirror(bench.mirror.git, tmp_path / "other-machine", bench.mirror.repository.address)
    await prepare(other)
    return replace(bench, mirror=other)


def without_network(mirror: Mirror, folder: Path, times: int) -> Mirror:
    """The mirror with a git that fails to fetch for so many times."""
    program = folder / "git-without-network"
    program.write_text(NO_NETWORK.format(folder=folder, times=times, git=shutil.which("git")))
    program.chmod(0o755)
    return replace(mirror, git=GitCommand(GitSettings(executable=str(program))))


def refs(repository: Path) -> str:
    return git(repository, "for-each-ref", "--format=%(refname) %(objectname)")


@pytest.mark.parametrize(("times", "outcome"), [(1, Replaced), (100, TargetUnreachable)])
async def test_a_claim_that_cannot_be_fetched_is_not_overwritten(
    bench: Bench, tmp_path: Path, times: int, outcome: type[Replaced | TargetUnreachable]
) -> None:
    order, before = bench.order((await added(bench)).commit, claim=OURS), refs(bench.repository)
    assert isinstance(await integrate(without_network(bench.mirror, tmp_path, times), order), outcome)
    assert refs(bench.repository) == before
    assert await integrate(bench.mirror, order) == Replaced("claim-1")
    assert refs(bench.repository) == before


async def test_a_claim_whose_object_is_lost_is_not_overwritten(tmp_path: Path) -> None:
    bench = await make_bench(tmp_path)
    order = bench.order((await added(bench)).commit)
    fence = await claim_fence(target_of(bench.mirror), bench.order(order.commit, claim=THEIRS), None)
    assert isinstance(fence, Fence)
    lost = bench.repository / ".git" / "objects" / fence.value[:2] / fence.value[2:]
    lost.rename(tmp_path / "lost")
    before = refs(bench.repository)
    outcome = await integrate(bench.mirror, replace(order, claim=OURS))
    assert isinstance(outcome, TargetUnreachable)
    assert fence.value in outcome.detail
    assert refs(bench.repository) == before
    (tmp_path / "lost").rename(lost)
    assert await integrate(bench.mirror, replace(order, claim=OURS)) == Replaced("claim-1")


async def test_a_fence_that_has_moved_on_before_it_could_be_fetched_is_read_where_it_stands(bench: Bench) -> None:
    order = bench.order((await added(bench)).commit, claim=OURS)
    assert await claim_fence(target_of(bench.mirror), order, "1" * 40) == Replaced("claim-1")
    git(bench.repository, "update-ref", "-d", FENCE)
    assert isinstance(await claim_fence(target_of(bench.mirror), order, "1" * 40), Fence)


@pytest.mark.parametrize("scheme", ["", "file://"])
async def test_what_is_no_ledger_at_all_keeps_nobody_away(tmp_path: Path, scheme: str) -> None:
    bench = await make_bench(tmp_path, f"{scheme}{tmp_path}/repository")
    git(bench.repository, "update-ref", FENCE, bench.base)
    assert isinstance(await integrate(bench.mirror, bench.order((await added(bench)).commit)), Integrated)
