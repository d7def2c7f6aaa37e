"""A sandbox that is being set up when its service dies runs nothing."""

import asyncio
import os
from pathlib import Path

import pytest

from services.sandbox.lifeline import Lifeline, lifeline


async def _exit_code(line: Lifeline, command: tuple[str, ...], dies: tuple[int, ...] = ()) -> int:
    """Run a command behind a lifeline; `dies` are our ends, closed as a killed service's are."""
    process = await asyncio.create_subprocess_exec(
        *line.arguments(), *command, pass_fds=(line.says, line.hears), stderr=asyncio.subprocess.DEVNULL
    )
    for descriptor in dies:
        os.close(descriptor)
    return await asyncio.wait_for(process.wait(), 30)


async def test_a_command_begins_when_its_service_has_given_its_word(tmp_path: Path) -> None:
    with lifeline() as line:
        assert await _exit_code(line, ("sh", "-c", f'echo "$1" > {tmp_path}/made', "sh", "as it is")) == 0
    assert (tmp_path / "made").read_text() == "as it is\n"


@pytest.mark.parametrize("which", ["before it says that it is there", "while it waits for the word"])
async def test_a_command_whose_service_is_dead_is_not_run(tmp_path: Path, which: str) -> None:
    (here, says), (hears, word) = os.pipe(), os.pipe()
    kept = () if which.startswith("before") else (here,)
    try:
        dies = tuple({here, word} - set(kept))
        code = await _exit_code(Lifeline(says, hears), ("touch", str(tmp_path / "made")), dies)
    finally:
        for descriptor in (says, hears, *kept):
            os.close(descriptor)
    assert code != 0
    assert not (tmp_path / "made").exists()


async def test_no_descriptor_is_left_open() -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with lifeline() as line:
            await _exit_code(line, ("true",))
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1
