"""What bubblewrap leaves where it dies in the midst of making a sandbox is ended, and no sandbox that lives is."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from services.sandbox import end_orphans, find_bubblewrap

Sandbox = tuple[asyncio.subprocess.Process, int, int]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """Bubblewrap that waits until it is told, the process that it has made for that, and where to tell it."""
    waiting, ours = os.pipe()
    command = (
        str(find_bubblewrap()),
        *("--dev-bind", "/", "/", "--bind", str(tmp_path / "work"), "/mnt"),
        *("--unshare-pid", "--block-fd", str(waiting), "sleep", "60"),
    )
    (tmp_path / "work").mkdir()
    outer = await asyncio.create_subprocess_exec(*command, pass_fds=(waiting,))
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    async with asyncio.timeout(20):
        while not (inner := children.read_text().split()):
            await asyncio.sleep(0.01)
    yield outer, int(inner[0]), ours
    for process in (outer.pid, int(inner[0])):
        with suppress(ProcessLookupError):
            os.kill(process, 9)
    await outer.wait()
    os.close(waiting)
    os.close(ours)


async def test_a_sandbox_that_nobody_makes_any_more_is_ended(sandbox: Sandbox, tmp_path: Path) -> None:
    outer, inner, _ = sandbox
    assert end_orphans(tmp_path) == [], "it is being made"
    outer.kill()
    await outer.wait()
    assert end_orphans(tmp_path / "elsewhere") == []
    assert Path(f"/proc/{inner}").exists()
    assert end_orphans(tmp_path) == [inner]
    async with asyncio.timeout(20):
        while Path(f"/proc/{inner}").exists():
            await asyncio.sleep(0.01)


async def test_a_sandbox_that_has_something_to_run_is_left_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    _, inner, begin = sandbox
    os.write(begin, b"x")
    async with asyncio.timeout(20):
        while not Path(f"/proc/{inner}/task/{inner}/children").read_text():
            await asyncio.sleep(0.01)
    assert end_orphans(tmp_path) == []
