"""What nobody foresaw stands in no other service's way: the projector says it, and goes on when it has passed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from projections.database import Pool
from projections.lane import fold_into
from projections.projector import EXPIRY, FILES, GROUP, Projector
from support.histories import ListLog, recorded, success
from support.projecting import Heard, is_alarmed, is_ready, passed, running, until
from support.tables import tables_at_zero

TOLD = 'UndefinedTableError: relation "tiers_v1" does not exist'


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


Doing = Callable[..., Coroutine[Any, Any, Any]]


class Failing:
    """Something that fails in a way that nobody foresaw, until it is `mended`."""

    def __init__(self, doing: Doing) -> None:
        self._doing = doing
        self.mended, self.tried = asyncio.Event(), 0

    async def __call__(self, *given: Any) -> Any:
        self.tried += 1
        if not self.mended.is_set():
            raise asyncpg.UndefinedTableError(TOLD.partition(": ")[2])
        return await self._doing(*given)


class Files:
    """Run files, of which nothing is left to write."""

    async def keep(self, partition: int) -> None:
        return None


async def is_quiet(heard: Heard) -> bool:
    return heard.alarms == heard.hindrances == {}


async def test_a_fault_while_following_is_told_and_followed_on_from_when_it_has_passed(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a newer version has pruned the table of this one."""
    folding = Failing(fold_into)
    monkeypatch.setattr("projections.lane.fold_into", folding)
    log, heard, history = ListLog(), Heard(), recorded(success())
    async with running(Projector(pool, log, heard)):
        log.write(history)
        await until(lambda: is_alarmed(heard, GROUP))
        assert heard.alarms == {GROUP: TOLD}
        assert TOLD in heard.troubles
        folding.mended.set()
        await until(lambda: passed(pool, "runs", len(history)))
        await until(lambda: is_ready(heard))
        await until(lambda: is_quiet(heard))
    assert 1 < folding.tried < 20


async def test_a_fault_in_run_files_is_told_and_they_are_kept_when_it_has_passed(pool: Pool) -> None:
    log, heard, files = ListLog(), Heard(), Files()
    keeping = Failing(files.keep)
    files_as_given: Any = files
    files_as_given.keep = keeping
    async with running(Projector(pool, log, heard, files_as_given)):
        await until(lambda: is_alarmed(heard, FILES))
        assert heard.alarms == heard.hindrances == {FILES: TOLD}
        assert heard.is_ready
        keeping.mended.set()
        await until(lambda: is_quiet(heard))


async def test_a_fault_in_the_last_look_at_run_files_is_none_of_the_others(pool: Pool) -> None:
    log, heard, files, history = ListLog(), Heard(), Files(), recorded(success())
    keeping = Failing(files.keep)
    files_as_given: Any = files
    files_as_given.keep = keeping

    async def is_paused_for_long() -> bool:
        return keeping.tried >= 5

    async with running(Projector(pool, log, heard, files_as_given)):
        await until(is_paused_for_long)
        log.write(history)
        await until(lambda: passed(pool, "runs", len(history)))
    assert keeping.tried > 5


async def test_a_fault_in_the_expiry_is_told_and_it_is_tried_again(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing_to_expire(*_: object) -> None:
        return None

    expiring = Failing(nothing_to_expire)
    monkeypatch.setattr("projections.projector.expire_rejections", expiring)
    heard = Heard()
    async with running(Projector(pool, ListLog(), heard)):
        await until(lambda: is_alarmed(heard, EXPIRY))
        assert heard.alarms == {EXPIRY: TOLD}
        expiring.mended.set()
        await until(lambda: is_quiet(heard))
