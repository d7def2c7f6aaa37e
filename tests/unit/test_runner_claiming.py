"""A claim comes to the log before its answer, or with it, and at once where work waits for it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from events.catalogue import Topic
from events.log.port import LogUnavailable, NewRecord
from services.runner import claiming as module
from services.runner.claiming import Claiming

CLAIM, ANSWER = NewRecord("shop", b"claim"), NewRecord("shop", b"answer")


class Log:
    """Takes submissions once it is let."""

    def __init__(self) -> None:
        self.taken: list[list[bytes]] = []
        self.asked = asyncio.Event()
        self.may_take = asyncio.Event()
        self.may_take.set()
        self.away = 0

    async def submit(self, topic: Topic, records: Sequence[NewRecord]) -> list[Any]:
        self.asked.set()
        await self.may_take.wait()
        if self.away:
            self.away -= 1
            raise LogUnavailable("away")
        self.taken.append([record.value for record in records])
        return []


def claiming_on(log: Any) -> Claiming:
    return Claiming(log, CLAIM)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMPANY_SECONDS", 0.0)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMPANY_SECONDS", 3600.0)


async def test_short_work_takes_its_claim_along(never: None) -> None:
    log = Log()
    claiming = claiming_on(log)
    claiming.soon()
    await asyncio.sleep(0)
    assert await claiming.before(ANSWER) == [CLAIM, ANSWER]
    assert log.taken == []


async def test_the_claim_of_longer_work_goes_ahead_alone(at_once: None) -> None:
    log = Log()
    claiming = claiming_on(log)
    claiming.soon()
    await log.asked.wait()
    assert await claiming.before(ANSWER) == [ANSWER]
    assert log.taken == [[b"claim"]]


async def test_an_answer_waits_for_a_claim_that_has_left_and_not_arrived(at_once: None) -> None:
    log = Log()
    log.may_take.clear()
    log.away = 1
    claiming = claiming_on(log)
    claiming.soon()
    await log.asked.wait()
    waiting = asyncio.create_task(claiming.before(ANSWER))
    await asyncio.sleep(0)
    assert not waiting.done()
    log.may_take.set()
    assert await asyncio.wait_for(waiting, 10) == [ANSWER]
    assert log.taken == [[b"claim"]]


async def test_a_claim_that_is_waited_for_is_submitted_at_once_and_but_once(never: None) -> None:
    log = Log()
    claiming = claiming_on(log)
    claiming.soon()
    await asyncio.wait_for(asyncio.gather(claiming.now(), claiming.now()), 10)
    assert log.taken == [[b"claim"]]


async def test_a_claim_that_is_dropped_in_time_never_comes_to_the_log(never: None) -> None:
    log = Log()
    claiming = claiming_on(log)
    claiming.soon()
    await asyncio.sleep(0)
    claiming.drop()
    await asyncio.sleep(0)
    assert (log.taken, log.asked.is_set()) == ([], False)
