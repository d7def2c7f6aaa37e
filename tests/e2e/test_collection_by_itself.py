"""What nobody needs any more is collected by the services themselves, and nothing that an open run needs."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from time import time

import pytest

from services.settings import Settings
from support.builds import repository, request
from support.gates import Gate, builds_claimed, until
from support.service import serving

LONG_AGO_SECONDS = 30 * 86_400.0
LIMIT_SECONDS = 30


def _age(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (time() - LONG_AGO_SECONDS,) * 2, follow_symlinks=False)


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not is_so():
            await asyncio.sleep(0.05)


async def test_services_collect_by_themselves_and_leave_what_an_open_run_needs(
    postgres_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The open run's first phase has landed: its patch and log are as old as those of the run that has ended."""
    for name in ("FIRST_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(f"services.collection.collector.{name}", 0.2)
    monkeypatch.setattr("services.collection.collector.EVERY_SECONDS", 0.5)
    repo, gate = repository(tmp_path / "repo"), Gate(tmp_path)
    settings = postgres_settings.model_copy(update={"artifact_days": 0})
    blobs = Path(settings.artifacts_url.removeprefix("file://")) / "blobs"
    async with serving(settings, gate.agent()) as (build, _):
        gate.open("run-1", "P1")
        await build.start(request(repo))
        await build.end()
        of_ended = {path for path in blobs.rglob("*") if path.is_file()}
        assert of_ended
        gate.open("run-2", "P1")
        await build.start(request(repo, phases=2, run_id="run-2"))
        await until(build, lambda history: builds_claimed(history) == ["P1", "P2"], "run-2")
        of_open = {path for path in blobs.rglob("*") if path.is_file()} - of_ended
        assert of_open
        left = settings.home_folder / "scratch" / "left"
        left.mkdir(parents=True)
        _age(settings.home_folder)
        _age(blobs)
        await _until(lambda: not left.exists() and not any(path.exists() for path in of_ended))
        assert all(path.exists() for path in of_open)
        gate.open("run-2", "P2")
        assert (await build.end("run-2"))["data"]["state"] == "DONE_SUCCESS"
