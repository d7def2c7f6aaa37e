"""The file that says from outside whether a service is ready."""

import asyncio
from pathlib import Path

import pytest

from services import readiness
from services.readiness import show_readiness
from services.status import ServiceStatus
from support.stage import until


async def test_a_disk_that_takes_no_file_does_not_end_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "TOUCH_SECONDS", 0.01)
    status, stop = ServiceStatus("supervisor"), asyncio.Event()
    status.ready()
    in_the_way = tmp_path / "ready"
    in_the_way.write_text("no folder")
    shown, show = [], readiness._show
    monkeypatch.setattr(readiness, "_show", lambda ready: (shown.append(ready), show(ready)))
    task = asyncio.create_task(show_readiness(tmp_path, [status], stop))
    await until(lambda: len(shown) == 3)
    assert not task.done()
    in_the_way.unlink()
    await until(lambda: (tmp_path / "ready" / "supervisor").exists())
    stop.set()
    await task
    assert not (tmp_path / "ready" / "supervisor").exists()
