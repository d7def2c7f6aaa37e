"""AUTOPACK_TEST_REQUIRE=all makes a skip a failure, so that CI cannot pass by leaving out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SKIPPED = {
    "mark": "import pytest\n\n@pytest.mark.skip(reason='no such server')\ndef test_it(): pass\n",
    "call": "import pytest\n\ndef test_it(): pytest.skip('no such server')\n",
    "module": "import pytest\n\npytest.skip('no such server', allow_module_level=True)\n",
}
EXPECTED_TO_FAIL = "import pytest\n\n@pytest.mark.xfail(strict=True)\ndef test_it(): assert False\n"


def run_pytest(folder: Path, source: str, require: str) -> tuple[int, str]:
    (folder / "test_it.py").write_text(source)
    environment = os.environ | {"AUTOPACK_TEST_REQUIRE": require, "PYTHONPATH": str(TESTS)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        ".",
        "test_it.py",
    ]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
    return done.returncode, done.stdout


@pytest.mark.parametrize("way", SKIPPED)
def test_a_skip_fails_where_all_is_required_and_says_what_was_missing(tmp_path: Path, way: str) -> None:
    code, printed = run_pytest(tmp_path, SKIPPED[way], require="all")
    assert code in {1, 2}
    assert "makes a skip a failure: " in printed
    assert "no such server" in printed


def test_a_skip_is_named_and_passes_elsewhere(tmp_path: Path) -> None:
    code, printed = run_pytest(tmp_path, SKIPPED["call"], require="")
    assert code == 0
    assert "1 skipped" in printed


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    code, printed = run_pytest(tmp_path, EXPECTED_TO_FAIL, require="all")
    assert code == 0
    assert "1 xfailed" in printed
