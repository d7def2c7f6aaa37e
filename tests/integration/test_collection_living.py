"""A collection that waits for no age, beside processes that live: it takes nothing that they work in."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import time
from typing import Any

import pytest

from events.configuration import Check
from events.families.apply import PatchAccepted
from events.families.build import BuildSucceeded
from events.families.verify import ChecksPassed
from services import locks
from services.collection.home import _clear
from services.git import mirror as mirror_module
from services.git.command import GitCommand
from services.git.mirror import Mirror, has_commit, open_mirror
from services.git.quarantine import QuarantineMissing, keep_objects, open_quarantine
from services.locks import folder_held, unheld
from services.sandbox import ownership
from support.repositories import git, new_file_patch
from support.workers import Home, open_home, shell

NO_COMMIT = "0" * 40
GREEN = Check(name="tests", argv=("sh", "-c", "test -f made"))


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return await open_home(tmp_path)


def taken(home: Home) -> list[Path]:
    """What `autopack gc --older-than-hours 0` takes just now, were the clock of the files a little ahead."""
    return _clear(home.folder, time() + 1, False)


def collect_around_git(home: Home, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Collect before and after each git process of ours; what went."""
    run, gone = GitCommand.run, list[Path]()

    async def collecting_run(self: GitCommand, *arguments: Any, **options: Any) -> object:
        gone.extend(taken(home))
        try:
            return await run(self, *arguments, **options)
        finally:
            gone.extend(taken(home))

    monkeypatch.setattr(GitCommand, "run", collecting_run)
    return gone


def collect_around_removals(home: Home, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Collect whenever somebody else begins to remove a folder, and when half of it is gone; what went."""
    gone: list[Path] = []
    is_collecting = False
    remove_tree = ownership.remove_tree

    def collect() -> None:
        nonlocal is_collecting
        if not is_collecting:
            is_collecting = True
            gone.extend(taken(home))
            is_collecting = False

    def removing(folder: Path) -> None:
        collect()
        for part in sorted(folder.iterdir())[:1] if folder.exists() else ():
            remove_tree(part) if part.is_dir() else part.unlink()
        collect()
        remove_tree(folder)

    monkeypatch.setattr(ownership, "remove_tree", removing)
    return gone


async def built(home: Home) -> BuildSucceeded:
    assignment = home.assignment(home.build_request())
    answer = await home.builder(shell("echo made > made")).perform(assignment)
    assert isinstance(answer, BuildSucceeded), answer
    return answer


async def checked(home: Home, accepted: PatchAccepted, origin: Any) -> ChecksPassed:
    answer = await home.verifier().perform(home.assignment(home.checks_request(accepted, origin, [GREEN])))
    assert isinstance(answer, ChecksPassed), answer
    return answer


async def opened(home: Home) -> Mirror:
    return await home.candidates.at_commit(str(home.repository), home.base)


async def test_a_quarantine_that_is_open_stays_and_its_objects_come_into_the_mirror(home: Home) -> None:
    async with open_quarantine(await opened(home)) as quarantine:
        written = await quarantine.git.run(quarantine.place, "hash-object", "-w", "--stdin", stdin=b"a file\n")
        assert taken(home) == []
        assert await keep_objects(quarantine, NO_COMMIT) == 1
    assert git(quarantine.mirror.folder, "cat-file", "blob", written.stdout.decode().strip()) == "a file"
    assert home.left_over() == []


async def test_of_a_quarantine_that_is_gone_nothing_is_said_to_be_kept(home: Home) -> None:
    async with open_quarantine(await opened(home)) as quarantine:
        ownership.remove_folder(quarantine.folder)
        with pytest.raises(QuarantineMissing, match="is gone"):
            await keep_objects(quarantine, NO_COMMIT)


async def test_a_phase_is_built_applied_and_checked_while_somebody_collects_all_the_time(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clones and trees in the making, quarantines, and the index by which a tree is checked out."""
    gone = collect_around_git(home, monkeypatch)
    patch = (await built(home)).patch
    accepted, origin = await home.accepted([patch])
    await checked(home, accepted, origin)
    assert await has_commit(await opened(home), accepted.candidate)
    assert (gone, home.left_over()) == ([], [])


async def test_nobody_else_removes_what_a_worker_is_about_to_remove(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = collect_around_removals(home, monkeypatch)
    accepted, origin = await home.accepted([await home.store.put(new_file_patch("made", "it\n"))])
    await built(home)
    await checked(home, accepted, origin)
    assert (gone, home.left_over()) == ([], [])


async def test_a_mirror_in_the_making_stays(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[Path] = []
    fill = mirror_module._fill

    def collecting(mirror: Mirror, draft: Path) -> None:
        gone.extend(taken(home))
        fill(mirror, draft)

    monkeypatch.setattr(mirror_module, "_fill", collecting)
    mirror = await open_mirror(GitCommand(), home.folder / "mirrors", str(home.repository))
    assert (gone, mirror.quarantines.is_dir()) == ([], True)


async def test_a_folder_is_nobodys_prey_between_its_making_and_its_being_held(tmp_path: Path) -> None:
    ended = Event()

    def collect() -> int:
        found = 0
        while not ended.is_set():
            with unheld(tmp_path / "it") as is_left:
                if is_left:
                    found += 1
                    (tmp_path / "it").rmdir()
        return found

    def work() -> None:
        for number in range(300):
            with folder_held(tmp_path / "it"):
                (tmp_path / "it" / str(number)).touch()
                assert [path.name for path in (tmp_path / "it").iterdir()] == [str(number)]
                ownership.remove_folder(tmp_path / "it")

    with ThreadPoolExecutor() as threads:
        collecting = threads.submit(collect)
        try:
            await asyncio.to_thread(work)
        finally:
            ended.set()
    assert collecting.exception() is None


async def test_a_folder_that_is_taken_before_it_is_held_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, hold = tmp_path / "it", locks._held
    is_made, is_taken, is_begun, is_gone = Event(), Event(), Event(), Event()

    def held(made: Path) -> int | None:
        is_made.set()
        assert is_taken.wait(60)
        return hold(made)

    def collect() -> None:
        assert is_made.wait(60)
        with unheld(folder) as is_left:
            assert is_left
            is_taken.set()
            assert not is_begun.wait(0.3), "nobody begins to work in what is about to go"
            folder.rmdir()
        is_gone.set()

    def work() -> bool:
        with folder_held(folder):
            is_begun.set()
            return is_gone.wait(60) and folder.is_dir()

    monkeypatch.setattr(locks, "_held", held)
    assert await asyncio.gather(asyncio.to_thread(work), asyncio.to_thread(collect)) == [True, None]
