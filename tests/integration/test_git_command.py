"""The trusted git runner: what a child sees, how it ends."""

import asyncio
import errno
import os
import time
from pathlib import Path

import pytest

from services.git.command import GitCommand, GitSettings, Place
from services.git.failures import GitFailed, GitMissing, GitOutputTooLarge, GitTimedOut
from support.repositories import git, make_repository


def script(folder: Path, body: str) -> str:
    """A program that stands in for git, to look at how it is called."""
    path = folder / "fake-git"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


async def test_a_git_process_sees_our_environment_and_nothing_of_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hidden")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("GIT_TRACE", "1")
    runner = GitCommand(GitSettings(executable=script(tmp_path, "env")))
    output = await runner.run(Place(), "anything")
    seen = dict(line.split("=", 1) for line in output.stdout.decode().splitlines())
    assert "DATABASE_PASSWORD" not in seen
    assert "GIT_DIR" not in seen
    assert "GIT_TRACE" not in seen
    assert (seen["GIT_CONFIG_NOSYSTEM"], seen["GIT_TERMINAL_PROMPT"], seen["LC_ALL"]) == ("1", "0", "C")
    assert Path(seen["GIT_CONFIG_GLOBAL"]).is_file()


async def test_a_repositorys_own_configuration_cannot_turn_hooks_back_on(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r")
    for name, value in (
        ("core.hooksPath", str(tmp_path)),
        ("core.fsmonitor", "touch x"),
        ("core.protectNTFS", "false"),
    ):
        git(repository, "config", name, value)
    runner, place = GitCommand(), Place(git_dir=repository / ".git")
    values = [
        (await runner.run(place, "config", "--get", name)).stdout.decode().strip()
        for name in ("core.hooksPath", "core.fsmonitor", "core.protectNTFS")
    ]
    assert values == ["/dev/null", "false", "true"]


async def test_a_process_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    marker = tmp_path / "child"
    body = f"sleep 300 & echo $! > {marker}; wait"
    runner = GitCommand(GitSettings(executable=script(tmp_path, body), limit_seconds=5.0))
    with pytest.raises(GitTimedOut):
        await runner.run(Place(), "hang")
    await until_dead(int(marker.read_text()))


async def test_a_process_that_heeds_no_word_is_killed_and_waited_for_however_often_it_is_cancelled(
    tmp_path: Path,
) -> None:
    marker = tmp_path / "child"
    body = f"trap '' TERM; echo $$ > {marker}.new; mv {marker}.new {marker}; exec sleep 300"
    running = asyncio.create_task(GitCommand(GitSettings(executable=script(tmp_path, body))).run(Place(), "hang"))
    while not marker.exists():
        await asyncio.sleep(0.01)
    for _ in range(2):
        running.cancel()
        await asyncio.sleep(0.1)
    assert not running.done()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text()), 0)


async def test_a_child_that_heeds_no_word_and_has_none_of_our_pipes_is_killed_as_well(tmp_path: Path) -> None:
    marker = tmp_path / "child"
    stubborn = (
        f"(trap '' TERM; echo $(exec sh -c 'echo $PPID') > {marker}.new; mv {marker}.new {marker}; sleep 300)"
    )
    runner = GitCommand(GitSettings(executable=script(tmp_path, f"{stubborn} >/dev/null 2>&1 & exec sleep 300")))
    running = asyncio.create_task(runner.run(Place(), "hang"))
    while not marker.exists():
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until_dead(int(marker.read_text()))


async def test_cancelling_kills_the_process(tmp_path: Path) -> None:
    marker = tmp_path / "child"
    runner = GitCommand(
        GitSettings(
            executable=script(tmp_path, f"echo $$ > {marker}.new; mv {marker}.new {marker}; exec sleep 300")
        )
    )
    running = asyncio.create_task(runner.run(Place(), "hang"))
    deadline = time.monotonic() + 10
    while not marker.exists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until_dead(int(marker.read_text()))


async def test_a_flood_of_output_is_cut_off(tmp_path: Path) -> None:
    runner = GitCommand(GitSettings(executable=script(tmp_path, "yes"), output_limit_bytes=100_000))
    with pytest.raises(GitOutputTooLarge):
        await runner.run(Place(), "flood")


async def test_a_flood_of_errors_does_not_stop_it_and_its_end_is_kept(tmp_path: Path) -> None:
    runner = GitCommand(
        GitSettings(executable=script(tmp_path, "yes | head -c 2000000 >&2; echo the end >&2; exit 3"))
    )
    with pytest.raises(GitFailed) as raised:
        await runner.run(Place(), "fail")
    assert raised.value.exit_code == 3
    assert raised.value.stderr_tail.endswith("the end")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("error: unable to write file: No space left on device", errno.ENOSPC),
        ("remote: fatal: write error: No space left on device        ", errno.ENOSPC),
        ("fatal: sha1 file 'x.pack' write error. Out of diskspace", errno.ENOSPC),
        ("fatal: write error: Disk quota exceeded\nfatal: index-pack failed", errno.EDQUOT),
        ("error: 'a: No space left on device': is not there", None),
        ("U No space left on device", None),
    ],
)
async def test_a_full_disk_is_told_from_other_failures_by_the_end_of_a_line(
    tmp_path: Path, said: str, code: int | None
) -> None:
    (tmp_path / "said").write_text(f"{said}\n")
    runner = GitCommand(GitSettings(executable=script(tmp_path, f"cat {tmp_path}/said >&2; exit 1")))
    with pytest.raises(GitFailed if code is None else OSError) as raised:
        await runner.run(Place(), "fail")
    assert getattr(raised.value, "errno", None) == code


async def test_a_missing_git_is_named() -> None:
    with pytest.raises(GitMissing, match="/nonexistent/git"):
        await GitCommand(GitSettings(executable="/nonexistent/git")).run(Place(), "version")


async def until_dead(process_id: int) -> None:
    deadline = time.monotonic() + 10
    while is_running(process_id):
        assert time.monotonic() < deadline, f"{process_id} lives"
        await asyncio.sleep(0.01)


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
