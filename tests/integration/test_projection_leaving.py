"""A projector that is told to stop ends soon, whatever it is waiting for."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from projections.database import Pool
from projections.projector import Projector
from support.histories import ListLog, ListMembership, recorded, success
from support.projecting import Heard
from support.tables import tables_at_zero


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


class SilentLog(ListLog):
    """Whoever wants to join a group is never answered."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def join(self, group: str) -> ListMembership:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody answers")


class HungFiles:
    """Run files in a folder that hangs: they are begun, and never done."""

    def __init__(self) -> None:
        self.begun, self.given_up = asyncio.Event(), 0

    async def keep(self, partition: int) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up += 1


async def seconds_to_leave(projector: Projector, once: asyncio.Event) -> float:
    """How long it takes to end when it is told to at this moment."""
    clock, stop = asyncio.get_running_loop().time, asyncio.Event()
    running = asyncio.create_task(projector.run(stop))
    await asyncio.wait_for(once.wait(), 10)
    told_at = clock()
    stop.set()
    await asyncio.wait({running}, timeout=5)
    took = clock() - told_at
    running.cancel()
    await asyncio.wait({running})
    return took


async def test_run_files_that_take_long_are_given_up(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.projector.LAST_FILES_SECONDS", 0.1)
    log, files = ListLog(), HungFiles()
    log.write(recorded(success()))
    files_as_given: Any = files
    took = await seconds_to_leave(Projector(pool, log, Heard(), files_as_given), files.begun)
    assert 0.1 <= took < 2.0
    assert files.given_up == 1


async def test_who_waits_to_be_let_into_its_group_leaves_at_once(pool: Pool) -> None:
    log = SilentLog()
    assert await seconds_to_leave(Projector(pool, log, Heard()), log.asked) < 2.0


async def test_whoever_waits_for_tables_that_take_long_to_make_leaves_at_once(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def slow(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("projections.projector.install", slow)
    assert await seconds_to_leave(Projector(pool, ListLog(), Heard()), begun) < 2.0
