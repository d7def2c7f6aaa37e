"""Runs at the same time, and phases at the same time: nobody disturbs anybody."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.settings import Settings
from support.builds import Build, names, repository, request, running
from support.gates import Gate, builds_claimed, until
from support.repositories import git


async def _ends(build: Build, *runs: tuple[str, str]) -> list[dict[str, Any]]:
    return [(await build.end(run_id, project))["data"] for run_id, project in runs]


def _files_of(repo: Path, branch: str) -> list[str]:
    listed = git(repo, "ls-tree", "--name-only", branch).split()
    return [name for name in listed if name.endswith(".txt")]


def _is_linear(repo: Path, branch: str) -> bool:
    return git(repo, "rev-list", "--merges", f"main..{branch}") == ""


async def test_two_runs_on_one_repository_at_once_do_not_disturb_each_other(
    log_settings: Settings, tmp_path: Path
) -> None:
    repo, gate = repository(tmp_path / "repo"), Gate(tmp_path)
    before = git(repo, "rev-parse", "main")
    async with running(log_settings, gate.agent()) as build:
        for run_id in ("run-1", "run-2"):
            await build.start(request(repo, 2, run_id=run_id))
        for run_id in ("run-1", "run-2"):
            await until(build, lambda history: builds_claimed(history) == ["P1"], run_id)
        gate.open_all()
        ends = await _ends(build, ("run-1", "shop"), ("run-2", "shop"))
    assert [end["state"] for end in ends] == ["DONE_SUCCESS"] * 2
    for run_id, end in zip(("run-1", "run-2"), ends, strict=True):
        assert git(repo, "rev-parse", f"autonomous/{run_id}") == end["head_commit"]
        assert _files_of(repo, f"autonomous/{run_id}") == [f"{run_id}-P1.txt", f"{run_id}-P2.txt"]
    assert git(repo, "rev-parse", "main") == before
    git(repo, "fsck", "--strict", "--no-dangling")


async def test_two_projects_at_once_do_not_disturb_each_other(log_settings: Settings, tmp_path: Path) -> None:
    """Two on one repository, and one that has a run of the same id on another."""
    repo, other, gate = repository(tmp_path / "repo"), repository(tmp_path / "other"), Gate(tmp_path)
    runs = (("run-1", "shop", repo), ("run-2", "till", repo), ("run-1", "bank", other))
    async with running(log_settings, gate.agent()) as build:
        for run_id, project, folder in runs:
            await build.start(request(folder, run_id=run_id, project=project))
        for run_id, project, _ in runs:
            await until(build, lambda history: builds_claimed(history) == ["P1"], run_id, project)
        gate.open_all()
        ends = await _ends(build, *((run_id, project) for run_id, project, _ in runs))
    assert [end["state"] for end in ends] == ["DONE_SUCCESS"] * 3
    for (run_id, _, folder), end in zip(runs, ends, strict=True):
        assert git(folder, "rev-parse", f"autonomous/{run_id}") == end["head_commit"]
        assert _files_of(folder, f"autonomous/{run_id}") == [f"{run_id}-P1.txt"]


async def test_a_branch_belongs_to_one_project_where_two_gave_their_runs_the_same_id(
    log_settings: Settings, tmp_path: Path
) -> None:
    """A run's id is unique in its project alone, its branch in the repository: the second run is told so."""
    repo, gate = repository(tmp_path / "repo"), Gate(tmp_path)
    projects = ("shop", "till")
    async with running(log_settings, gate.agent()) as build:
        for project in projects:
            await build.start(request(repo, 2, project=project))
        for project in projects:
            await until(build, lambda history: builds_claimed(history) == ["P1"], project=project)
        gate.open_all()
        ends = await _ends(build, *(("run-1", project) for project in projects))
    ends.sort(key=lambda end: str(end["state"]))
    assert [end["state"] for end in ends] == ["DONE_FAILED_ENVIRONMENT", "DONE_SUCCESS"]
    assert "belongs to a run of the same id in project" in ends[0]["reason"]
    assert git(repo, "rev-parse", "autonomous/run-1") == ends[1]["head_commit"]
    assert git(repo, "rev-list", "--count", "main..autonomous/run-1") == "2"


SIDE_BY_SIDE = [{"phase_id": f"P{number}", "depends_on": []} for number in range(1, 5)]


async def test_phases_side_by_side_all_land_on_a_linear_branch_that_is_green_at_each_commit(
    log_settings: Settings, tmp_path: Path
) -> None:
    """The head moves under all but the first to land: their candidates are made and checked again."""
    repo, gate = repository(tmp_path / "repo"), Gate(tmp_path)
    async with running(log_settings, gate.agent()) as build:
        await build.start(request(repo, SIDE_BY_SIDE))
        await until(build, lambda history: len(builds_claimed(history)) == len(SIDE_BY_SIDE))
        gate.open_all()
        (end,) = await _ends(build, ("run-1", "shop"))
        history = await build.history()
    assert end["state"] == "DONE_SUCCESS", end
    assert _files_of(repo, "autonomous/run-1") == [f"run-1-P{number}.txt" for number in range(1, 5)]
    assert _is_linear(repo, "autonomous/run-1")
    landed = git(repo, "rev-list", "main..autonomous/run-1").split()
    assert len(landed) == len(SIDE_BY_SIDE)
    assert set(landed) <= _green(history)
    assert names(history).count("BuildRequested") == len(SIDE_BY_SIDE)
    assert names(history).count("ApplyRequested") > len(SIDE_BY_SIDE)


def _green(history: Sequence[dict[str, Any]]) -> set[str]:
    return {event["data"]["candidate"] for event in history if event["type"] == "autopack.ChecksPassed.v1"}


async def test_a_patch_that_no_longer_fits_the_moved_head_goes_back_to_its_builder(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    """Both phases change one line; whoever comes second is told of the conflict and builds on the new head."""
    repo, gate = repository(tmp_path / "repo", {"shared.txt": "nobody\n"}), Gate(tmp_path)
    body = "was = pathlib.Path('shared.txt').read_text()\n"
    body += "pathlib.Path('shared.txt').write_text(was.strip() + ' ' + name + '\\n')\n"
    phases = [{"phase_id": "A", "depends_on": []}, {"phase_id": "B", "depends_on": []}]
    async with running(postgres_settings, gate.agent(body)) as build:
        await build.start(request(repo, phases))
        await until(build, lambda history: sorted(builds_claimed(history)) == ["A", "B"])
        gate.open("run-1", "B")
        await build.until("autopack.SnapshotCreated.v1")
        gate.open("run-1", "A")
        (end,) = await _ends(build, ("run-1", "shop"))
        history = await build.history()
    assert end["state"] == "DONE_SUCCESS", end
    assert git(repo, "show", "autonomous/run-1:shared.txt") == "nobody run-1-B run-1-A"
    assert builds_claimed(history) in (["A", "B", "A"], ["B", "A", "A"])
    again = [event["data"] for event in history if event["type"] == "autopack.BuildRequested.v1"][-1]
    assert "shared.txt" in str(again["feedback"])
