"""What is collected from a home, on real git: candidates, base commits, clones of the dead."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any

import pytest

from projections.queries.retention import OpenRuns
from services.artifacts import DAY_SECONDS, open_artifacts
from services.candidates import Candidates
from services.collection.collector import Collector
from services.collection.home import HomeCollected, collect_home, collecting
from services.git.command import GitCommand
from services.git.integration import Integrated, integrate
from services.git.mirror import has_commit, in_use
from services.git.preparation import prepare
from services.git.reference_names import base_reference, candidate_reference
from services.locks import locked
from services.sandbox import remove_folder
from services.settings import Settings
from support.deep_trees import TOO_DEEP_FOR_PATHS, make_deep
from support.repositories import Bench, added, git, make_bench, make_repository

NOBODY = OpenRuns()


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    return await make_bench(tmp_path)


async def collected(bench: Bench, open_runs: OpenRuns = NOBODY, *, dry_run: bool = False) -> HomeCollected:
    return await collect_home(home(bench), GitCommand(), open_runs, unused_days=14, dry_run=dry_run)


def home(bench: Bench) -> Path:
    return bench.mirror.folder.parent.parent


def age(folder: Path, days: float = 30) -> None:
    """Let everything below a folder be so old."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (time() - days * DAY_SECONDS,) * 2, follow_symlinks=False)


def candidates_of(bench: Bench) -> list[str]:
    listed = git(bench.mirror.folder, "for-each-ref", "--format=%(refname)", "refs/autopack")
    return listed.split()


async def test_candidates_and_bases_that_were_not_used_for_long_go_with_their_objects(bench: Bench) -> None:
    made = await added(bench)
    assert (await collected(bench)).references == ()
    age(bench.mirror.folder)
    reference = candidate_reference("shop-1", "P1", "request-1")
    names = (f"{bench.mirror.folder} {reference}", f"{bench.mirror.folder} {base_reference(bench.base)}")
    assert (await collected(bench, dry_run=True)).references == names
    assert candidates_of(bench) == [reference]
    assert (await collected(bench)).references == names
    assert candidates_of(bench) == []
    assert not await has_commit(bench.mirror, made.commit)
    assert not await has_commit(bench.mirror, bench.base)
    assert (await prepare(bench.mirror)).base_commit == bench.base, "what is gone is fetched again"
    assert git(bench.mirror.folder, "fsck", "--full", "--strict") == ""


async def test_what_an_unfinished_run_stands_on_stays_however_old_it_is(bench: Bench) -> None:
    made = await added(bench)
    other = await added(bench, "b", run_id="shop-2")
    age(bench.mirror.folder)
    going_on = OpenRuns(frozenset({"shop-1"}), frozenset({bench.base}))
    [gone] = (await collected(bench, going_on)).references
    assert gone.endswith(candidate_reference("shop-2", "P1", "request-1"))
    assert candidates_of(bench) == [candidate_reference("shop-1", "P1", "request-1")]
    assert await has_commit(bench.mirror, made.commit)
    assert not await has_commit(bench.mirror, other.commit)


async def test_what_landed_stays_at_the_target(bench: Bench) -> None:
    made = await added(bench)
    assert isinstance(await integrate(bench.mirror, bench.order(made.commit)), Integrated)
    age(bench.mirror.folder)
    before = git(bench.repository, "for-each-ref")
    await collected(bench)
    assert git(bench.repository, "for-each-ref") == before
    assert "autonomous/shop-1" in before
    assert git(bench.repository, "fsck", "--full", "--strict") == ""


async def test_nothing_is_collected_from_a_mirror_while_somebody_looks_for_a_commit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.git.collection.LOCK_SECONDS", 0.05)
    age(bench.mirror.folder)
    async with in_use(bench.mirror):
        assert (await collected(bench)).references == ()
    assert len((await collected(bench)).references) == 1


async def test_a_commit_that_somebody_has_begun_to_work_on_is_in_use(bench: Bench) -> None:
    age(bench.mirror.folder)
    candidates = Candidates(GitCommand(), bench.mirror.folder.parent, open_artifacts(str(home(bench) / "a")))
    await candidates.at_commit(str(bench.repository), bench.base)
    assert (await collected(bench)).references == ()
    assert await has_commit(bench.mirror, bench.base)


def forget_a_tree(bench: Bench) -> None:
    """Leave the base commit without a ref, and without its tree."""
    folder = bench.mirror.folder
    (pack,) = folder.glob("objects/pack/*.pack")
    moved = pack.rename(home(bench) / "pack")
    for left in folder.glob("objects/pack/*"):
        left.unlink()
    (folder / base_reference(bench.base)).unlink()
    with moved.open("rb") as objects:
        subprocess.run(["git", "unpack-objects", "-q"], cwd=folder, stdin=objects, check=True)
    tree = git(folder, "rev-parse", f"{bench.base}^{{tree}}")
    (folder / "objects" / tree[:2] / tree[2:]).unlink()


async def test_after_a_killed_collection_a_commit_with_missing_files_is_fetched_again(bench: Bench) -> None:
    """Objects that no ref leads to may be half gone: the commit is there, its tree is not."""
    await prepare(bench.mirror)
    forget_a_tree(bench)
    bench.mirror.collection_mark.touch()
    assert await has_commit(bench.mirror, bench.base)
    assert (await prepare(bench.mirror)).base_commit == bench.base
    assert git(bench.mirror.folder, "ls-tree", "--name-only", bench.base)
    await collected(bench)
    assert not bench.mirror.collection_mark.exists()
    assert git(bench.mirror.folder, "fsck", "--full", "--strict") == ""


async def test_what_kept_the_pack_of_a_killed_fetch_is_collected_but_not_under_one_that_lives(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.git.collection.LOCK_SECONDS", 0.05)
    await prepare(bench.mirror)
    mark = next(bench.mirror.folder.glob("objects/pack/*.pack")).with_suffix(".keep")
    async with locked(bench.mirror.folder / "autopack" / "fetch.flock"):  # as by git, whose service was killed
        mark.touch()
        await collected(bench)
        assert mark.exists()
    await collected(bench)
    assert not mark.exists()


@pytest.mark.parametrize("lock", ["gc.pid.lock", "shallow.lock"])
async def test_a_lock_that_a_killed_git_left_keeps_nobody_from_collecting(tmp_path: Path, lock: str) -> None:
    make_repository(tmp_path / "repository")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{tmp_path}/repository", "shallow")
    bench = await make_bench(tmp_path, str(tmp_path / "shallow"))
    age(bench.mirror.folder)
    (bench.mirror.folder / lock).touch()
    assert (await collected(bench)).references == (f"{bench.mirror.folder} {base_reference(bench.base)}",)
    assert not (bench.mirror.folder / lock).exists()
    assert not bench.mirror.collection_mark.exists()


async def test_a_mirror_of_many_packs_is_packed_anew(bench: Bench) -> None:
    for number in range(22):
        (bench.repository / "README.md").write_text(f"{number}\n")
        git(bench.repository, "commit", "--quiet", "--all", "--message", str(number))
        await prepare(bench.mirror)
    assert len(list(bench.mirror.folder.glob("objects/pack/*.pack"))) > 20
    await collected(bench)
    assert len(list(bench.mirror.folder.glob("objects/pack/*.pack"))) == 1
    assert await has_commit(bench.mirror, git(bench.repository, "rev-parse", "HEAD"))


HOLDER = """
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from services.locks import folder_held
from pathlib import Path
with folder_held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


async def test_a_clone_is_collected_when_its_process_is_dead_and_never_before(bench: Bench) -> None:
    clone = home(bench) / "work" / "claim-1"
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(clone)), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    async with asyncio.timeout(60):
        assert await holder.stdout.readline() == b"held\n"
    (clone / "tree").mkdir()
    age(clone)
    assert (await collected(bench)).paths == ()
    holder.send_signal(signal.SIGKILL)
    await holder.wait()
    assert (await collected(bench)).paths == (clone,)
    assert not clone.exists()


async def test_a_home_is_collected_from_once_in_a_while_and_by_one_process(bench: Bench) -> None:
    settings = Settings(home=home(bench))
    collector = Collector(settings, GitCommand(), open_artifacts(str(home(bench) / "artifacts")), None)
    left = home(bench) / "scratch" / "agent-1"
    left.mkdir(parents=True)
    age(home(bench))
    async with collecting(home(bench), 1):
        await collector.collect()
    assert left.exists()
    await collector.collect()
    assert not left.exists()
    left.mkdir()
    age(left)
    await collector.collect()
    assert left.exists(), "it was collected from a moment ago"


async def test_what_cannot_be_removed_or_vanishes_keeps_nothing_else_from_going(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = home(bench) / "work"
    vanished, fixed, removable = (work / name for name in ("a", "b", "c"))
    for folder in (fixed, removable):
        folder.mkdir(parents=True)
    age(home(bench))

    def refusing(folder: Path) -> None:
        if folder == fixed:
            raise PermissionError(1, "Operation not permitted", str(folder))
        remove_folder(folder)

    monkeypatch.setattr("services.collection.home.remove_folder", refusing)
    monkeypatch.setattr("services.collection.home._leftovers", lambda _: [vanished, fixed, removable])
    done = await collected(bench)
    assert done.paths == (removable,)
    assert len(done.references) == 1, "and mirrors have their turn"
    assert [path.name for path in work.iterdir()] == ["b"]


async def test_a_leftover_that_may_not_be_looked_into_keeps_nothing_else_from_going(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, removable = (home(bench) / "work" / name for name in ("a", "b"))
    for folder in (closed, removable):
        folder.mkdir(parents=True)
    age(home(bench))

    @contextmanager
    def refusing(folder: Path) -> Iterator[bool]:
        if folder == closed:
            raise PermissionError(13, "Permission denied", str(folder))
        yield True

    monkeypatch.setattr("services.collection.home.unheld", refusing)
    assert (await collected(bench)).paths == (removable,)


async def test_a_leftover_that_was_closed_to_us_is_collected(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To an account that is not root, which tests may be."""
    left = home(bench) / "work" / "claim-1"
    left.mkdir(parents=True)
    age(home(bench))
    left.chmod(0)
    really = os.open

    def opened(path: str | Path, *arguments: Any, **options: Any) -> int:
        if Path(path) == left and not left.stat().st_mode & 0o700:
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, *arguments, **options)

    monkeypatch.setattr("services.locks.os.open", opened)
    assert (await collected(bench)).paths == (left,)
    assert not left.exists()


async def test_a_leftover_is_collected_however_deep_it_is(bench: Bench) -> None:
    left = home(bench) / "work" / "claim-1"
    left.mkdir(parents=True)
    make_deep(left, TOO_DEEP_FOR_PATHS)
    os.utime(left, (time() - 30 * DAY_SECONDS,) * 2)
    assert (await collected(bench)).paths == (left,)
    assert not left.exists()


async def test_a_mirror_that_cannot_be_read_keeps_no_other_from_being_collected(bench: Bench) -> None:
    damaged = home(bench) / "mirrors" / f"{'0' * 32}.git"
    (damaged / "autopack").mkdir(parents=True)
    (damaged / "refs" / "bases").mkdir(parents=True)
    (damaged / "refs" / "bases" / "1").symlink_to("nowhere")
    age(bench.mirror.folder)
    assert len((await collected(bench)).references) == 1
