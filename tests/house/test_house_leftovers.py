"""A session that passes leaves no folder behind; one that fails keeps its own, to be looked into."""

import os
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


def folders_after(folder: Path, holds: bool, *options: str) -> list[Path]:
    """What a session of one test leaves in the place for passing files."""
    (folder / "test_it.py").write_text(SOURCE.format(holds=holds))
    place = folder / "place"
    place.mkdir()
    environment = os.environ | {"PYTEST_DEBUG_TEMPROOT": str(place), "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "--rootdir", "."]
    done = subprocess.run(
        [*command, *options, "test_it.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == (0 if holds else 1), done.stdout + done.stderr
    return [path for path in place.glob("pytest-of-*/*") if path.exists()]


@pytest.mark.parametrize("options", [(), ("--numprocesses", "2")], ids=["alone", "workers"])
def test_a_session_that_passes_leaves_no_folder(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert folders_after(tmp_path, True, *options) == []


def test_a_session_that_fails_keeps_its_folders(tmp_path: Path) -> None:
    assert folders_after(tmp_path, False) != []
