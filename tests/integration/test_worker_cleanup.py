"""A cleanup that fails costs nothing: answers stand, cancellations go on, the collector takes what is left."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import time

import pytest

from events.configuration import Check, Preparation
from events.families.build import BuildSucceeded
from events.families.verify import CheckOutcome, ChecksPassed
from services.collection.home import _clear
from services.preparation import Wanted
from services.sandbox import remove_folder, work_folders
from support.repositories import new_file_patch
from support.stage import until
from support.workers import Home, open_home, shell

AGENT = shell("echo made > made")


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return await open_home(tmp_path)


def failing_once(monkeypatch: pytest.MonkeyPatch, is_meant: Callable[[Path], bool]) -> list[Path]:
    """The first removal of such a folder fails, and of a folder that is there; which it was."""
    failed: list[Path] = []

    def remove(folder: Path) -> None:
        if not failed and folder.exists() and is_meant(folder):
            failed.append(folder)
            raise OSError(5, "Input/output error")
        remove_folder(folder)

    monkeypatch.setattr(work_folders, "remove_folder", remove)
    return failed


@pytest.mark.parametrize("place", ["work", "scratch"])
async def test_a_build_whose_folder_cannot_be_removed_has_succeeded_all_the_same(
    home: Home, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = failing_once(monkeypatch, lambda folder: folder.parent.name == place)
    answer = await home.builder(AGENT).perform(home.assignment(home.build_request()))
    assert isinstance(answer, BuildSucceeded)
    assert home.left_over() == [str(folder) for folder in failed]
    assert _clear(home.folder, time() + 1, False) == failed, "nobody works there any more"
    assert home.left_over() == []


async def test_checks_whose_tree_cannot_be_removed_in_the_end_have_passed_all_the_same(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted, origin = await home.accepted([await home.store.put(new_file_patch("made", "it\n"))])
    check = Check(name="tests", argv=("test", "-f", "made"))
    assignment = home.assignment(home.checks_request(accepted, origin, [check]))
    failed = failing_once(monkeypatch, lambda folder: folder.parent.name == "work")
    answer = await home.verifier().perform(assignment)
    assert isinstance(answer, ChecksPassed), answer
    assert home.left_over() == [str(folder) for folder in failed]
    again = await home.verifier().perform(assignment)
    assert isinstance(again, ChecksPassed), "what was left is in nobody's way"
    assert _clear(home.folder, time() + 1, False) == failed, "nobody works there any more"


async def test_no_check_runs_in_a_tree_that_could_not_be_removed_after_another(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted, origin = await home.accepted([await home.store.put(new_file_patch("made", "it\n"))])
    checks = [Check(name=name, argv=("sh", "-c", "test ! -e left && touch left")) for name in ("one", "two")]
    verifier, assignment = home.verifier(), home.assignment(home.checks_request(accepted, origin, checks))
    failing_once(monkeypatch, lambda folder: folder.parent.name == "work")
    with pytest.raises(FileExistsError):
        await verifier.perform(assignment)
    answer = await verifier.perform(assignment)
    assert [result.outcome for result in answer.checks] == [CheckOutcome.PASSED] * 2


async def test_a_build_that_is_tried_again_is_not_hindered_by_what_the_first_try_left(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_once(monkeypatch, lambda folder: folder.parent.name == "work")
    builder, assignment = home.builder(AGENT), home.assignment(home.build_request())
    for _ in range(2):
        assert isinstance(await builder.perform(assignment), BuildSucceeded)


async def test_a_build_that_is_cancelled_is_cancelled_though_its_folder_cannot_be_removed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = failing_once(monkeypatch, lambda folder: folder.parent.name == "work")
    builder = home.builder(shell("echo begun; sleep 600"))
    building = asyncio.create_task(builder.perform(home.assignment(home.build_request())))
    await until(lambda: home.lines == ["begun"], 20)
    building.cancel()
    await asyncio.wait({building})
    assert building.cancelled()
    assert home.left_over() == [str(folder) for folder in failed]


async def test_a_preparation_that_is_cancelled_is_cancelled_though_its_try_cannot_be_removed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = failing_once(monkeypatch, lambda folder: "prepared" in folder.parts)
    mirror = await home.candidates.at_commit(str(home.repository), home.base)
    wanted = Wanted(Preparation(argv=("sh", "-c", "echo begun; sleep 600"), paths=("t",)), home.base, home.base)

    async def borrow() -> None:
        async with home.preparations.lent(mirror, wanted, home.folder, home.lines.append):
            raise AssertionError("nobody gave it up")

    borrowing = asyncio.create_task(borrow())
    await until(lambda: "begun" in home.lines, 20)
    borrowing.cancel()
    await asyncio.wait({borrowing})
    assert borrowing.cancelled()
    assert [folder.exists() for folder in failed] == [True]
