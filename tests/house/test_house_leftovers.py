"""A session that passes leaves no folder behind, and no process; one that fails keeps its folder, for a look."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SOURCE = """
def test_it(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "file").write_text("x")
    closed.chmod(0)
    assert {holds}
"""
LEAVING = """
import subprocess

import conftest

conftest.PATIENCE_SECONDS = 0.5


def test_it(tmp_path):
    subprocess.Popen(["sleep", "100"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
"""


def session(folder: Path, source: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A session of one test, whose place for passing files is `folder / "place"`."""
    (folder / "test_it.py").write_text(source)
    place = folder / "place"
    place.mkdir()
    environment = os.environ | {"PYTEST_DEBUG_TEMPROOT": str(place), "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "--rootdir", "."]
    return subprocess.run(
        [*command, *options, "test_it.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def folders_after(folder: Path, holds: bool, *options: str) -> list[Path]:
    """What a session of one test leaves in the place for passing files."""
    done = session(folder, SOURCE.format(holds=holds), *options)
    assert done.returncode == (0 if holds else 1), done.stdout + done.stderr
    return [path for path in (folder / "place").glob("pytest-of-*/*") if path.exists()]


@pytest.mark.parametrize("options", [(), ("--numprocesses", "2")], ids=["alone", "workers"])
def test_a_session_that_passes_leaves_no_folder(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert folders_after(tmp_path, True, *options) == []


def test_a_session_that_fails_keeps_its_folders(tmp_path: Path) -> None:
    assert folders_after(tmp_path, False) != []


def test_a_session_that_leaves_a_process_fails_and_names_it(tmp_path: Path) -> None:
    done = session(tmp_path, LEAVING, "-s")
    (left,) = re.findall(r"^  (\d+) sleep 100$", done.stdout, re.MULTILINE)
    os.kill(int(left), signal.SIGKILL)
    assert done.returncode == 1
    assert "processes are left behind" in done.stdout
