"""Results of preparations: made once among many, never half, and collected when nobody uses them."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from events.configuration import Preparation
from projections.run_files.folder import this_boot
from services.git.mirror import Mirror
from services.preparation import PreparationFailed, Preparations, Wanted, collect_unused
from services.sandbox import remove_folder
from support.deep_trees import NESTED, TOO_DEEP_FOR_RECURSION
from support.repositories import git
from support.workers import Home, open_home, with_command_line

ROOT = Path(__file__).parents[2]
DAY_SECONDS = 86_400


@pytest.fixture(params=["bubblewrap", "none"])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return await open_home(tmp_path, request.param)


async def opened(home: Home) -> Mirror:
    return await home.candidates.at_commit(str(home.repository), home.base)


def wanted(home: Home, source: str = "mkdir t; echo made > t/made") -> Wanted:
    preparation = Preparation(argv=("sh", "-c", source), paths=("t",))
    return Wanted(preparation, home.base, home.base)


def tree(home: Home) -> Path:
    folder = home.folder / "tree"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def lent(home: Home, preparations: Preparations, order: Wanted) -> Path:
    """Where the one thing lies that is lent."""
    async with preparations.lent(await opened(home), order, tree(home), home.lines.append) as mounts:
        assert [str(mount.destination) for mount in mounts] == ["t"]
        return mounts[0].source


def kept(home: Home) -> list[str]:
    """All that is kept, but locks."""
    found = (path for path in (home.folder / "prepared").rglob("*") if path.is_file())
    return sorted(path.name for path in found if path.suffix != ".lock")


def age(home: Home, days: float) -> None:
    then = time.time() - days * DAY_SECONDS
    for path in (*(home.folder / "prepared").glob("*"), *(home.folder / "prepared").glob("*/made")):
        if path.suffix != ".lock":
            os.utime(path, (then, then))


async def test_of_many_who_want_it_at_once_one_makes_it(home: Home):
    order = wanted(home, "sleep 0.3; mkdir t; echo made > t/made")
    users = [Preparations(home.sandbox, home.folder / "prepared") for _ in range(8)]
    places = await asyncio.gather(*(lent(home, user, order) for user in users))
    assert len(set(places)) == 1
    assert (places[0] / "made").read_text() == "made\n"
    assert len([line for line in home.lines if line.startswith("[prepare]")]) == 1


async def test_another_command_base_or_path_is_another_result(home: Home):
    places = {await lent(home, home.preparations, wanted(home)), await lent(home, home.preparations, wanted(home))}
    assert len(places) == 1
    places.add(await lent(home, home.preparations, wanted(home, "mkdir t; echo other > t/made")))
    git(home.repository, "commit", "--quiet", "--allow-empty", "--message", "Another base")
    places.add(await lent(home, home.preparations, wanted(home)))
    assert len(places) == 3


async def test_only_the_named_paths_are_kept(home: Home):
    await lent(
        home, home.preparations, wanted(home, "mkdir -p t u; echo 1 > t/made; echo 2 > u/other; echo 3 > top")
    )
    assert kept(home) == ["made", "made"]  # the mark, and what was made


async def test_a_failed_try_leaves_nothing_and_is_tried_anew(home: Home, tmp_path: Path):
    source = "mkdir t; echo half > t/made; test ! -e fail"
    (home.repository / "fail").touch()
    git(home.repository, "add", "fail")
    git(home.repository, "commit", "--quiet", "--message", "Let it fail")
    for _ in range(2):
        with pytest.raises(PreparationFailed, match="exited with code 1"):
            await lent(home, home.preparations, wanted(home, source))
        assert kept(home) == []
    assert len([line for line in home.lines if line.startswith("[prepare]")]) == 2


async def test_a_cancelled_preparation_is_dead_and_leaves_nothing(home: Home):
    word = f"prepare-{os.getpid()}-{time.monotonic_ns()}"
    order = wanted(home, f"mkdir t; echo half > t/made; echo begun; : {word}; sleep 600")
    running = asyncio.create_task(lent(home, home.preparations, order))
    async with asyncio.timeout(20):
        while "begun" not in home.lines:
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert with_command_line(word) == []
    assert kept(home) == []


MAKER = """
import asyncio, sys
from pathlib import Path
from support.workers import Home, working_sandbox
from test_preparation_keeping import lent, wanted

async def main():
    home = Home(Path(sys.argv[1]), Path(sys.argv[2]), await working_sandbox())
    home.lines = Printed()
    await lent(home, home.preparations, wanted(home, sys.argv[3]))

class Printed(list):
    def append(self, line):
        print(line, flush=True)

asyncio.run(main())
"""


async def test_what_a_killed_maker_left_half_made_never_counts(tmp_path: Path):
    """Killed in the middle of the command: its files are there, but no mark, and the command is dead as well."""
    home = await open_home(tmp_path)
    word = f"prepare-{os.getpid()}-{time.monotonic_ns()}"
    source = f": {word}; mkdir t; echo half > t/half; echo begun; sleep 600"
    maker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MAKER, str(home.folder), str(home.repository), source),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'tests'}:{Path(__file__).parent}"},
    )
    assert maker.stdout is not None
    async with asyncio.timeout(30):
        while await maker.stdout.readline() != b"begun\n":
            assert not maker.stdout.at_eof()
    os.kill(maker.pid, signal.SIGKILL)
    await maker.wait()
    assert "half" in kept(home)
    async with asyncio.timeout(20):
        while with_command_line(f": {word}; mkdir"):
            await asyncio.sleep(0.01)
    shorter = Preparation(argv=("sh", "-c", source), paths=("t",), timeout_seconds=0.5)
    with pytest.raises(PreparationFailed, match="ran longer"):
        await lent(home, home.preparations, Wanted(shorter, home.base, home.base))
    assert kept(home) == []


async def test_results_that_nobody_has_used_for_long_are_collected(home: Home):
    first = await lent(home, home.preparations, wanted(home))
    assert len(await collect_unused(home.folder / "prepared", unused_days=7)) == 0
    age(home, days=8)
    assert first == await lent(home, home.preparations, wanted(home))
    assert len(await collect_unused(home.folder / "prepared", unused_days=7)) == 0
    age(home, days=8)
    assert len(await collect_unused(home.folder / "prepared", unused_days=7)) == 1
    assert not first.exists()
    assert kept(home) == []
    assert (await lent(home, home.preparations, wanted(home)) / "made").exists()


async def test_what_is_in_use_is_not_collected(home: Home):
    mirror = await opened(home)
    async with home.preparations.lent(mirror, wanted(home), tree(home), home.lines.append) as mounts:
        age(home, days=8)
        assert len(await collect_unused(home.folder / "prepared", unused_days=7)) == 0
        assert (mounts[0].source / "made").exists()
    assert len(await collect_unused(home.folder / "prepared", unused_days=7)) == 1


async def test_where_nothing_was_prepared_nothing_is_collected(tmp_path: Path):
    assert len(await collect_unused(tmp_path / "absent", unused_days=0)) == 0


async def test_a_result_that_cannot_be_removed_keeps_no_other_from_going(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    fixed = await lent(home, home.preparations, wanted(home))
    other = await lent(home, home.preparations, wanted(home, "mkdir t; echo other > t/made"))
    age(home, days=8)

    def refusing(folder: Path) -> None:
        if fixed.is_relative_to(folder):
            raise PermissionError(1, "Operation not permitted", str(folder))
        remove_folder(folder)

    monkeypatch.setattr("services.preparation.kept.remove_folder", refusing)
    assert len(await collect_unused(home.folder / "prepared", unused_days=7)) == 1
    assert fixed.exists()
    assert not other.exists()


async def test_a_result_of_folders_nested_deep_is_kept_and_goes(home: Home):
    source = NESTED + f"mkdir -p t/$(d {TOO_DEEP_FOR_RECURSION}); echo made > t/$(d {TOO_DEEP_FOR_RECURSION})made"
    await lent(home, home.preparations, wanted(home, source))
    age(home, days=8)
    assert len(await collect_unused(home.folder / "prepared", unused_days=7)) == 1
    assert kept(home) == []


@pytest.mark.parametrize("of_another_boot", ["{name}\n00000000-boot", "{name}", "{name}\n", "\xff", ""])
async def test_a_mark_of_another_boot_does_not_count_for_the_files_may_be_empty(home: Home, of_another_boot: str):
    order = wanted(home)
    first = await lent(home, home.preparations, order)
    [mark] = (home.folder / "prepared").glob("*/made")
    (first / "made").write_text("")  # as after a power cut
    mark.write_bytes(of_another_boot.format(name=first.parents[1].name).encode("latin-1"))
    second = await lent(home, home.preparations, order)
    assert (second / "made").read_text() == "made\n"
    assert not first.exists()
    assert await lent(home, home.preparations, order) == second


async def test_a_mark_counts_for_every_process_where_the_system_has_no_name_for_its_boot(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("projections.run_files.folder._BOOT", home.folder / "none")
    order = wanted(home)
    first = await lent(home, home.preparations, order)
    this_boot.cache_clear()  # as another process would have it
    try:
        assert await lent(home, home.preparations, order) == first
    finally:
        this_boot.cache_clear()
