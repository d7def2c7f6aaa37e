"""The demo, whole: what a newcomer sees first."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from support.command_line import AUTOPACK, keeper_lives, until

DEMO = Path(__file__).parent.parent.parent / "examples" / "demo" / "run.py"
LIMIT_SECONDS = 60.0


async def demo(folder: Path) -> str:
    """Run the demo in a folder; what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUTOPACK_HOME")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(DEMO), str(folder)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        stdin=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


def git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def is_green(repository: Path) -> bool:
    """Whether its tests pass as it is checked out."""
    tests = [sys.executable, "-m", "unittest"]
    return subprocess.run(tests, cwd=repository, stderr=subprocess.DEVNULL, check=False).returncode == 0


def told_of(shown: str, phase_id: str) -> list[str]:
    """The types of the events of a phase, in the order in which they were told."""
    return re.findall(rf"^\d\d:\d\d  {phase_id} +(\w+)", shown, flags=re.MULTILINE)


async def test_the_demo_shows_every_way_to_the_branch_within_a_minute(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    (folder / "left").mkdir(parents=True)
    began = time.monotonic()
    shown = await demo(folder)
    assert time.monotonic() - began < LIMIT_SECONDS
    assert not (folder / "left").exists()
    assert "DONE_SUCCESS" in shown
    assert "warning" not in shown.lower()

    assert told_of(shown, "split").count("BuildSucceeded") == 1
    percent = told_of(shown, "percent")
    assert percent.index("ChecksFailed") < percent.index("ChecksPassed")
    assert "AssertionError: Money(cents=4) != Money(cents=5)" in shown
    currency = told_of(shown, "currency")
    assert (currency.count("BuildSucceeded"), currency.count("AuditCompleted")) == (2, 2)
    accounts = told_of(shown, "accounts")
    assert (accounts.count("BuildSucceeded"), accounts.count("AuditCompleted")) == (1, 2)
    statement = told_of(shown, "statement")
    assert statement.index("PatchRejected") < statement.index("PatchAccepted")
    for violation in (
        "ci_configuration .github/workflows/publish.yml",
        "policy_file autopack.toml",
        "symlink pocket/shared",
        "scope .github/workflows/publish.yml",
    ):
        assert violation in shown

    repository = folder / "repo"
    tree = git(repository, "ls-tree", "-r", "--name-only", "autonomous/demo").split()
    assert "pocket/statement.py" in tree
    assert ".github/workflows/publish.yml" not in tree
    assert git(repository, "rev-list", "--count", "main..autonomous/demo") == "6"
    assert len(git(repository, "tag", "--list", "autonomous/demo/*").split()) == 6
    assert git(repository, "status", "--porcelain") == ""
    assert "a name is taken only once" in git(
        repository, "show", "autonomous/demo:tests/test_accounts.py"
    ).replace("_", " ")
    assert (folder / "home" / ".autonomous_runs" / "demo" / "run_summary.md").exists()
    assert not keeper_lives(folder / "home")
    await every_command_that_it_names_works(shown, folder)


async def every_command_that_it_names_works(shown: str, folder: Path) -> None:
    _, _, further = shown.partition("Look further:\n")
    commands = [line.partition("#")[0].split() for line in further.splitlines() if line.strip()]
    assert len(commands) == 6
    environment = {**os.environ, "AUTOPACK_HOME": str(folder / "home")}
    for command in commands:
        if command[0] == "export":
            assert command[1] == f"AUTOPACK_HOME={folder / 'home'}"
            continue
        process = await asyncio.create_subprocess_exec(
            *command, cwd=DEMO.parent.parent.parent, env=environment, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, command
        assert output
    await until(lambda: not keeper_lives(folder / "home"), "the embedded server to stop")


async def test_each_landed_commit_of_the_demo_is_green_and_says_where_it_comes_from(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    await demo(folder)
    repository = folder / "repo"
    for commit in git(repository, "rev-list", "main..autonomous/demo").split():
        git(repository, "checkout", "--quiet", commit)
        assert is_green(repository), commit
    environment = {**os.environ, "AUTOPACK_HOME": str(folder / "home")}
    process = await asyncio.create_subprocess_exec(
        *(str(AUTOPACK), "status", "demo", "--json"), env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    run = json.loads(output)
    assert 0 < run["tokens_used"] < run["token_cap"]
    assert run["head_commit"] == git(repository, "rev-parse", "autonomous/demo")
