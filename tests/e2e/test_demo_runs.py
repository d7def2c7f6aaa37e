"""The demo, whole: what a newcomer sees first."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from services.sandbox import find_bubblewrap
from support.command_line import AUTOPACK, keeper_lives

ROOT = Path(__file__).parent.parent.parent
DEMO = ROOT / "examples" / "demo" / "run.py"
LIMIT_SECONDS = 60.0
MASKED = ("--dev-bind", "/", "/", "--ro-bind", "/dev/null", "/usr/bin/prlimit")
"""A machine like this one on which no sandbox can be made."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A demo that has run: where, what it printed, how long it took."""

    folder: Path
    text: str
    seconds: float
    exit_code: int

    @property
    def repository(self) -> Path:
        return self.folder / "repo"

    def told_of(self, phase_id: str) -> list[str]:
        """The types of the events of a phase, in the order in which they were told."""
        return re.findall(rf"^\d\d:\d\d  {phase_id} +(\w+)", self.text, flags=re.MULTILINE)

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.repository), *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def demo(folder: Path, *before: str, variables: Mapping[str, str] | None = None) -> Shown:
    """Run the demo in a folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUTOPACK_")}
    began = time.monotonic()
    done = subprocess.run(
        [*before, sys.executable, str(DEMO), os.path.relpath(folder, ROOT)],
        env={**environment, **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Shown(folder, done.stdout, time.monotonic() - began, done.returncode)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    (folder / "left").mkdir(parents=True)
    return demo(folder)


def test_the_demo_succeeds_within_a_minute_and_starts_afresh(shown: Shown) -> None:
    assert shown.exit_code == 0, shown.text
    assert shown.seconds < LIMIT_SECONDS
    assert "DONE_SUCCESS" in shown.text
    assert "warning" not in shown.text.lower()
    assert not (shown.folder / "left").exists()
    assert not keeper_lives(shown.folder / "home")


def test_each_phase_of_the_demo_shows_one_way_to_the_branch(shown: Shown) -> None:
    assert shown.told_of("split").count("BuildSucceeded") == 1
    percent = shown.told_of("percent")
    assert percent.index("ChecksFailed") < percent.index("ChecksPassed")
    assert "AssertionError: Money(cents=4) != Money(cents=5)" in shown.text
    currency = shown.told_of("currency")
    assert (currency.count("BuildSucceeded"), currency.count("AuditCompleted")) == (2, 2)
    accounts = shown.told_of("accounts")
    assert (accounts.count("BuildSucceeded"), accounts.count("AuditCompleted")) == (1, 2)
    assert "def test_a_name_is_taken_only_once" in shown.git("show", "autonomous/demo:tests/test_accounts.py")
    statement = shown.told_of("statement")
    assert statement.index("PatchRejected") < statement.index("PatchAccepted")


def test_every_violation_of_the_hostile_patch_is_named_and_none_of_it_lands(shown: Shown) -> None:
    for violation in (
        "scope .github/workflows/publish.yml",
        "scope autopack.toml",
        "ci_configuration .github/workflows/publish.yml",
        "policy_file autopack.toml",
        "symlink pocket/shared",
    ):
        assert violation in shown.text
    tree = shown.git("ls-tree", "-r", "--name-only", "autonomous/demo").split()
    assert "pocket/statement.py" in tree
    assert not {".github/workflows/publish.yml", "pocket/shared"} & set(tree)
    assert shown.git("diff", "main", "autonomous/demo", "--", "autopack.toml") == ""


def test_every_commit_of_the_demo_is_green_and_the_checkout_is_untouched(shown: Shown, tmp_path: Path) -> None:
    assert shown.git("status", "--porcelain", "--branch") == "## main"
    commits = shown.git("rev-list", "main..autonomous/demo").split()
    assert len(commits) == 6
    assert len(shown.git("tag", "--list", "autonomous/demo/tier-*/phase-*").split()) == 6
    for commit in commits:
        shown.git("worktree", "add", "--detach", "--quiet", str(tmp_path / commit), commit)
        tests = [sys.executable, "-m", "unittest"]
        checked = subprocess.run(tests, cwd=tmp_path / commit, stderr=subprocess.PIPE, check=False)
        assert checked.returncode == 0, checked.stderr


def test_the_demo_shows_what_its_agents_used(shown: Shown) -> None:
    done = subprocess.run(
        [str(AUTOPACK), "status", "demo", "--json"],
        env={**os.environ, "AUTOPACK_HOME": str(shown.folder / "home")},
        stdout=subprocess.PIPE,
        check=True,
    )
    run = json.loads(done.stdout)
    assert 1_000 < run["tokens_used"] < run["token_cap"]
    assert run["tokens_are_lower_bound"] is False
    assert (Path(run["run_files"]) / "run_summary.md").exists()


def test_every_command_that_the_demo_names_works(shown: Shown) -> None:
    _, _, further = shown.text.partition("Look further:\n")
    commands = [line.partition("#")[0].split() for line in further.splitlines() if line.strip()]
    assert len(commands) == 6
    environment = {**os.environ, "AUTOPACK_HOME": str(shown.folder / "home")}
    for command in commands:
        if command[0] == "export":
            assert command[1] == f"AUTOPACK_HOME={shown.folder / 'home'}"
            continue
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
        assert (done.returncode, bool(done.stdout)) == (0, True), (command, done.stderr)


def test_where_no_sandbox_works_the_demo_says_so_and_goes_on_with_its_own_agents(tmp_path: Path) -> None:
    bubblewrap = find_bubblewrap()
    if bubblewrap is None:
        pytest.skip("bubblewrap is not there to take prlimit away")
    shown = demo(tmp_path / "demo", str(bubblewrap), *MASKED)
    assert shown.exit_code == 0, shown.text
    assert shown.text.startswith("No sandbox works on this machine: prlimit")
    assert "its own agents are harmless" in shown.text


def test_where_everything_is_required_the_demo_does_not_go_on_without_a_sandbox(tmp_path: Path) -> None:
    bubblewrap = find_bubblewrap()
    if bubblewrap is None:
        pytest.skip("bubblewrap is not there to take prlimit away")
    shown = demo(tmp_path / "demo", str(bubblewrap), *MASKED, variables={"AUTOPACK_TEST_REQUIRE": "all"})
    assert shown.exit_code == 2
    assert "forbids to go on" in shown.text


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        second = demo(tmp_path / "demo")
    finally:
        os.close(descriptor)
    assert second.exit_code == 2
    assert "Another demo is running" in second.text
    assert f"(process {os.getpid()})" in second.text
    assert not (tmp_path / "demo").exists()


def orphans_of(folder: Path) -> list[psutil.Process]:
    """The runs that a demo in this folder started, and that go on."""
    repository = str(folder / "repo")
    return [p for p in psutil.process_iter(["cmdline"]) if is_run(p.info["cmdline"] or [], repository)]


def is_run(command: list[str], repository: str) -> bool:
    return "run" in command and any(os.path.realpath(ROOT / argument) == repository for argument in command[2:])


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_told_to_stop_or_killed_takes_its_run_along(tmp_path: Path, sent: signal.Signals) -> None:
    folder = tmp_path / "demo"
    process = subprocess.Popen(
        [sys.executable, str(DEMO), os.path.relpath(folder, ROOT)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout as shown:
        until_told = next((line for line in shown if "BuildSucceeded" in line), None)
        assert until_told is not None
        process.send_signal(sent)
        rest = shown.read()
    assert process.returncode == (-sent if sent is signal.SIGKILL else 130), rest
    assert "Cancelling demo" in rest
    assert not orphans_of(folder)
