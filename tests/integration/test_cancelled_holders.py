"""Whoever is cancelled lets nothing go before what a thread of his does to it has come to its end."""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from threading import Event
from time import time
from types import ModuleType
from typing import Any

import pytest

from events.configuration import Preparation
from projections.queries.retention import OpenRuns
from services.collection import home as home_module
from services.collection.home import collect_home, collecting
from services.git import collection, fetching, patch
from services.git.collection import StillNeeded, collect_mirror
from services.git.command import GitCommand
from services.git.mirror import Mirror, in_use
from services.git.workspace import clone_for_agent
from services.preparation import Wanted, collect_unused, kept, preparations
from support.repositories import commit
from support.stage import until
from support.workers import Home, open_home

PREPARATION = Preparation(argv=("sh", "-c", "mkdir t; echo made > t/made"), paths=("t",), keyed_by=("lock",))
LONG_AGO = 1_700_000_000


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return await open_home(tmp_path, "none")


class Slow:
    """A function that does not begin, the first time, before it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> None:
        self._does = getattr(module, name)
        self.is_called, self.may_begin = Event(), Event()
        monkeypatch.setattr(module, name, self)

    def __call__(self, *arguments: Any) -> object:
        if not self.is_called.is_set():
            self.is_called.set()
            assert self.may_begin.wait(60)
        return self._does(*arguments)


async def cancelled_within(
    slow: Slow, work: Coroutine[Any, Any, Any], of_another: Coroutine[Any, Any, Any]
) -> None:
    """Cancel work within what is slow: the other, who comes then, has to wait until that has been done."""
    first = asyncio.create_task(work)
    await until(slow.is_called.is_set)
    first.cancel()
    second = asyncio.create_task(of_another)
    done, _ = await asyncio.wait({first, second}, timeout=0.5)
    slow.may_begin.set()
    await asyncio.wait({first, second}, timeout=60)
    second.result()
    assert done == set()
    assert first.cancelled()


async def lent(home: Home, locks_of: str | None = None) -> None:
    """What was prepared, made where it is not there, and whole."""
    mirror = await home.candidates.at_commit(str(home.repository), locks_of or home.base)
    wanted = Wanted(PREPARATION, home.base, locks_of or home.base)
    tree = home.folder / "tree"
    tree.mkdir(exist_ok=True)
    async with home.preparations.lent(mirror, wanted, tree, home.lines.append) as [mount]:
        assert (mount.source / "made").read_text() == "made\n"


async def opened(home: Home) -> Mirror:
    return await home.candidates.at_commit(str(home.repository), home.base)


async def test_a_preparation_does_not_begin_while_a_cancelled_one_clears_away(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lent(home)
    for mark in (home.folder / "prepared").glob("*/made"):
        mark.unlink()  # as if its maker had been killed before
    await cancelled_within(Slow(monkeypatch, kept, "remove_folder"), lent(home), lent(home))


async def test_a_preparation_does_not_begin_while_a_cancelled_one_lays_lock_files_over(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = home.base
    changed = commit(home.repository, {"lock": "2"})
    mirror = await home.candidates.at_commit(str(home.repository), changed)
    await home.candidates.at_commit(str(home.repository), base)

    async def borrow() -> None:
        async with home.preparations.lent(
            mirror, Wanted(PREPARATION, base, changed), home.folder, print
        ) as mounts:
            assert len(mounts) == 1

    await cancelled_within(Slow(monkeypatch, preparations, "_replace"), borrow(), borrow())


async def test_a_preparation_does_not_begin_while_a_cancelled_collection_removes_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lent(home)
    for mark in (home.folder / "prepared").glob("*/made"):
        os.utime(mark, (LONG_AGO, LONG_AGO))
    collect = collect_unused(home.folder / "prepared", unused_days=7)
    await cancelled_within(Slow(monkeypatch, kept, "remove_folder"), collect, lent(home))


@pytest.mark.parametrize("name", ["_clear_leftovers", "_remove"])
async def test_a_mirror_is_not_used_while_a_cancelled_collection_removes_from_it(
    home: Home, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = await opened(home)

    async def use() -> None:
        async with in_use(mirror):
            pass

    collect = collect_mirror(GitCommand(), mirror.folder, StillNeeded(time() + 60))
    await cancelled_within(Slow(monkeypatch, collection, name), collect, use())


async def test_nobody_fetches_while_a_cancelled_fetch_clears_away_packs(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = await opened(home)

    async def fetch() -> None:
        async with fetching.fetching(mirror.folder):
            pass

    slow = Slow(monkeypatch, fetching, "_clear")
    await cancelled_within(slow, fetch(), fetch())


async def test_nobody_collects_from_a_home_while_a_cancelled_collection_clears_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def collect() -> None:
        async with collecting(home.folder, 60):
            await collect_home(home.folder, GitCommand(), OpenRuns(), unused_days=14)

    await cancelled_within(Slow(monkeypatch, home_module, "_clear"), collect(), collect())


@pytest.mark.parametrize("name", ["_prepare_scratch", "_remove_pipes"])
async def test_a_patch_that_is_cancelled_leaves_its_clone_alone_when_it_ends(
    home: Home, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = await clone_for_agent(await opened(home), home.base, home.folder / "clone")
    slow = Slow(monkeypatch, patch, name)
    taking = asyncio.create_task(patch.take_patch(workspace))
    await until(slow.is_called.is_set)
    taking.cancel()
    done, _ = await asyncio.wait({taking}, timeout=0.5)
    slow.may_begin.set()
    await asyncio.wait({taking}, timeout=60)
    assert (done, taking.cancelled()) == (set(), True)
    assert sorted(path.name for path in workspace.folder.iterdir()) == ["ignored", "index", "tree"]
