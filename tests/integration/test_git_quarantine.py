"""Keeping what a quarantine holds: wherever that ends, a commit that is found in the mirror is whole."""

import asyncio
import errno
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.git import quarantine
from services.git.candidate import Candidate, make_candidate
from services.git.mirror import Mirror, hold_commit
from services.git.quarantine import keep_objects, open_quarantine
from support.repositories import Bench, git, identity, make_bench, new_file_patch
from support.stage import until

PATCHES = [new_file_patch(f"folder-{number}/file", f"{number}\n") for number in range(4)]
OBJECTS = 4 + 4 + 1 + 1
"""The files, their folders, the tree above them, the commit."""


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    return await make_bench(tmp_path)


async def kept(mirror: Mirror, base: str, made: list[str]) -> int:
    """Make a candidate, say which, and keep its objects, under no ref yet."""
    async with open_quarantine(mirror) as opened:
        candidate = await make_candidate(opened, base, PATCHES, identity())
        assert isinstance(candidate, Candidate)
        made.append(candidate.commit)
        return await keep_objects(opened, candidate.commit)


def copy_of(mirror: Mirror, folder: Path) -> Mirror:
    shutil.copytree(mirror.folder, folder)
    return replace(mirror, folder=folder)


def ending_at(call: int) -> Callable[[Path], None]:
    """What syncs, up to that call of it."""
    calls, sync = iter(range(1000)), quarantine.sync

    def failing(path: Path) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(path)

    return failing


async def test_a_commit_whose_objects_were_not_all_kept_is_not_held(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    for call in range(1000):
        mirror = copy_of(bench.mirror, tmp_path / f"{call}.git")
        with monkeypatch.context() as patch:
            patch.setattr(quarantine, "sync", ending_at(call))
            (done,) = await asyncio.gather(kept(mirror, bench.base, made), return_exceptions=True)
        if await hold_commit(mirror, made[-1]):
            git(mirror.folder, "rev-list", "--objects", made[-1])
        if not isinstance(done, OSError):
            break
    assert done == OBJECTS
    assert call > OBJECTS
    assert await hold_commit(mirror, made[-1])


async def test_what_was_not_all_kept_can_be_kept_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(quarantine, "sync", ending_at(OBJECTS // 2))
        with pytest.raises(OSError, match="No space left"):
            await kept(bench.mirror, bench.base, made)
    assert await kept(bench.mirror, bench.base, made) < OBJECTS
    assert await hold_commit(bench.mirror, made[0])
    git(bench.mirror.folder, "fsck", "--strict")


async def test_whoever_is_cancelled_in_its_midst_keeps_all_before_the_rest_is_thrown_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    begun, go, sync = threading.Event(), threading.Event(), quarantine.sync

    def slow(path: Path) -> None:
        begun.set()
        assert go.wait(30)
        sync(path)

    monkeypatch.setattr(quarantine, "sync", slow)
    keeping = asyncio.create_task(kept(bench.mirror, bench.base, made))
    await until(begun.is_set, 10)
    keeping.cancel()
    await asyncio.wait({keeping}, timeout=0.3)  # for one that does not wait, to throw away what is not moved
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    assert await hold_commit(bench.mirror, made[0])
    git(bench.mirror.folder, "rev-list", "--objects", made[0])
