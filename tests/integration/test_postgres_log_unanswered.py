"""Commits of the log on Postgres that are carried out and not answered: whoever asked looks before it goes on."""

from collections.abc import AsyncIterator

import pytest

from events.catalogue import Topic
from events.log.port import LogUnavailable, NewRecord, Place, Positions, Step
from events.log.postgres import PostgresLog
from events.log.postgres.statements import APPEND_EVENTS, APPEND_STEP, SUBMIT, TAKE_OVER
from servers.postgres_proxy import PostgresProxy, postgres_proxy

HISTORY, COMMANDS = Place(Topic.EVENTS, 0), Place(Topic.COMMANDS, 0)


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[PostgresProxy]:
    async with postgres_proxy(database_url) as proxy:
        yield proxy


@pytest.fixture
async def log(proxy: PostgresProxy, database_url: str) -> AsyncIterator[PostgresLog]:
    log = await PostgresLog.open(proxy.through(database_url), 1)
    yield log
    await log.close()


async def _values(log: PostgresLog, place: Place) -> list[bytes]:
    return [record.value for record in await log.read(place, 0)]


@pytest.mark.parametrize(
    ("statement", "rejections"), [(APPEND_EVENTS, ()), (APPEND_STEP, (NewRecord("shop", b"refused"),))]
)
async def test_a_step_that_was_committed_and_not_answered_is_found_by_taking_over_and_stands_once(
    log: PostgresLog, proxy: PostgresProxy, statement: str, rejections: tuple[NewRecord, ...]
) -> None:
    await log.submit(Topic.COMMANDS, [NewRecord("shop", b"asked")])
    writer = await log.take_over(0, "one")
    step = Step([NewRecord("shop", b"decided")], rejections, positions=Positions(1, 0))
    proxy.cut(lambda one: one.text == statement)
    for _ in range(2):  # the second time the writer is dropped already
        with pytest.raises(LogUnavailable):
            await writer.append(step)
    heir = await log.take_over(0, "two")
    assert (heir.end, heir.positions) == (1, Positions(1, 0))
    assert await _values(log, HISTORY) == [b"decided"]
    assert len(await log.read(Place(Topic.REJECTIONS, 0), 0)) == len(rejections)


async def test_a_taking_over_that_is_not_answered_fences_all_the_same_and_is_done_again(
    log: PostgresLog, proxy: PostgresProxy
) -> None:
    await (await log.take_over(0, "one")).append(Step([NewRecord("shop", b"first")]))
    proxy.cut(lambda one: one.text == TAKE_OVER)
    with pytest.raises(LogUnavailable):
        await log.take_over(0, "two")
    heir = await log.take_over(0, "two")
    await heir.append(Step([NewRecord("shop", b"second")]))
    assert await _values(log, HISTORY) == [b"first", b"second"]


async def test_a_submission_that_was_committed_and_not_answered_is_in_the_log_and_may_be_made_again(
    log: PostgresLog, proxy: PostgresProxy
) -> None:
    """It is there twice then, under one id: the supervisor passes over the second."""
    proxy.cut(lambda one: one.text == SUBMIT)
    with pytest.raises(LogUnavailable):
        await log.submit(Topic.COMMANDS, [NewRecord("shop", b"asked")])
    assert await log.submit(Topic.COMMANDS, [NewRecord("shop", b"asked")]) == [(COMMANDS, 1)]
    assert await _values(log, COMMANDS) == [b"asked"] * 2
