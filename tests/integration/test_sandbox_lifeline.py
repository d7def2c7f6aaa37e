"""A sandbox that is being set up when its service dies runs nothing."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from services.processes.stdin import input_file
from services.sandbox.lifeline import Lifeline, lifeline


async def _run(line: Lifeline, command: tuple[str, ...], dies: tuple[socket.socket, ...] = ()) -> tuple[int, str]:
    """Run a command behind a lifeline; `dies` are our ends, closed as a killed service's are."""
    process = await asyncio.create_subprocess_exec(
        *line.arguments(),
        *command,
        stdin=line.line,
        pass_fds=(line.command_input,),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    for end in dies:
        end.close()
    printed, _ = await asyncio.wait_for(process.communicate(), 30)
    return await process.wait(), printed.decode()


async def test_a_command_begins_when_its_service_has_given_its_word() -> None:
    with input_file(b"what it reads\n") as given, lifeline(given) as line:
        assert not line.was_heard
        code, printed = await _run(line, ("sh", "-c", 'echo "$1"; cat; cat /dev/stdin', "sh", "as it is"))
        assert line.was_heard
    assert (code, printed) == (0, "as it is\nwhat it reads\nwhat it reads\n")


@pytest.mark.parametrize("which", ["before it says that it is there", "while it waits for the word"])
async def test_a_command_whose_service_is_dead_is_not_run(tmp_path: Path, which: str) -> None:
    ours, theirs = socket.socketpair()
    with input_file(b"") as given, ours, theirs:
        if which.startswith("before"):
            ours.close()
        line = Lifeline(theirs.fileno(), given)
        code, _ = await _run(line, ("touch", str(tmp_path / "made")), (ours,))
    assert code != 0
    assert not (tmp_path / "made").exists()


async def test_no_descriptor_is_left_open() -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with input_file(b"") as given, lifeline(given) as line:
            await _run(line, ("true",))
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1
