"""What bubblewrap leaves where it dies in the midst of making a sandbox is ended, and no sandbox that lives is."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from services.sandbox import end_orphans, find_bubblewrap, orphans


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Bubblewrap that waits before it runs anything, and the process that it has made for that."""
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
    yield outer, int(inner[0])
    for process in (outer.pid, int(inner[0])):
        with suppress(ProcessLookupError):
            os.kill(process, 9)
    await outer.wait()
    os.close(waiting)
    os.close(ours)


async def test_a_sandbox_that_nobody_makes_any_more_is_ended(
    sandbox: tuple[asyncio.subprocess.Process, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer, inner = sandbox
    assert end_orphans(tmp_path) == [], "it is young, and may be being made"
    monkeypatch.setattr(orphans, "YOUNG_SECONDS", -1.0)
    assert end_orphans(tmp_path / "elsewhere") == []
    outer.kill()
    await outer.wait()
    assert Path(f"/proc/{inner}").exists()
    assert end_orphans(tmp_path) == [inner]
    async with asyncio.timeout(20):
        while Path(f"/proc/{inner}").exists():
            await asyncio.sleep(0.01)


async def test_a_sandbox_that_has_something_to_run_is_left_alone(
    sandbox: tuple[asyncio.subprocess.Process, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "YOUNG_SECONDS", -1.0)
    outer, _ = sandbox
    assert outer.pid not in end_orphans(tmp_path)
