"""What is asked for at the same time is carried out together, and each hears of its own outcome alone."""

import asyncio
from collections.abc import Sequence

import pytest

from events.log.port import LogUnavailable
from events.log.postgres.grouping import Group


class Carrier:
    """Answers with the double, once it is let; `carried` are the groups that came."""

    def __init__(self) -> None:
        self.carried: list[list[int]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def carry(self, asked: Sequence[int]) -> list[int | Exception]:
        self.carried.append([*asked])
        await self.may_answer.wait()
        if 13 in asked:
            raise LogUnavailable("away")
        if 7 in asked:
            raise ValueError("not a number for us")
        return [KeyError("odd") if number % 2 else 2 * number for number in asked]


async def _asked(group: Group[int, int], *numbers: int) -> list[int | BaseException]:
    return await asyncio.gather(*map(group.ask, numbers), return_exceptions=True)


async def test_what_comes_at_the_same_time_is_carried_together_in_its_order() -> None:
    carrier = Carrier()
    assert await _asked(Group("g", carrier.carry), 2, 4, 6) == [4, 8, 12]
    assert carrier.carried == [[2, 4, 6]]


async def test_what_comes_while_one_is_carried_waits_for_the_next() -> None:
    carrier = Carrier()
    group = Group("g", carrier.carry)
    carrier.may_answer.clear()
    first = asyncio.create_task(_asked(group, 2))
    while not carrier.carried:
        await asyncio.sleep(0)
    others = asyncio.create_task(_asked(group, 4, 6))
    await asyncio.sleep(0)
    carrier.may_answer.set()
    assert (await first, await others) == ([4], [8, 12])
    assert carrier.carried == [[2], [4, 6]]


async def test_an_answer_that_is_an_exception_is_raised_to_whoever_asked() -> None:
    found = await _asked(Group("g", Carrier().carry), 2, 3, 4)
    assert (found[0], found[2]) == (4, 8)
    assert isinstance(found[1], KeyError)


async def test_a_fault_of_one_is_no_fault_of_the_others() -> None:
    carrier = Carrier()
    found = await _asked(Group("g", carrier.carry), 2, 7, 4)
    assert (found[0], found[2]) == (4, 8)
    assert isinstance(found[1], ValueError)
    assert carrier.carried == [[2, 7, 4], [2], [7], [4]]


async def test_a_log_that_is_away_is_told_to_all_and_asked_but_once() -> None:
    carrier = Carrier()
    found = await _asked(Group("g", carrier.carry), 2, 13, 4)
    assert all(isinstance(one, LogUnavailable) for one in found)
    assert carrier.carried == [[2, 13, 4]]


async def test_a_group_is_no_heavier_than_it_should_be_by_more_than_its_last() -> None:
    carrier = Carrier()
    group = Group("g", carrier.carry, weight=lambda number: number, limit=10)
    assert await _asked(group, 6, 8, 2, 100, 4) == [12, 16, 4, 200, 8]
    assert carrier.carried == [[6, 8], [2, 100], [4]]


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    carrier = Carrier()
    group = Group("g", carrier.carry)
    carrier.may_answer.clear()
    first = asyncio.create_task(group.ask(2))
    while not carrier.carried:
        await asyncio.sleep(0)
    given_up = asyncio.create_task(group.ask(4))
    await asyncio.sleep(0)
    given_up.cancel()
    carrier.may_answer.set()
    assert await first == 4
    assert await group.ask(6) == 12
    assert carrier.carried == [[2], [6]]


async def test_whoever_waits_when_it_is_closed_is_told_so_and_so_is_who_comes_later() -> None:
    carrier = Carrier()
    group = Group("g", carrier.carry)
    carrier.may_answer.clear()
    waiting = [asyncio.create_task(group.ask(number)) for number in (2, 4)]
    while not carrier.carried:
        await asyncio.sleep(0)
    late = asyncio.create_task(group.ask(6))
    await asyncio.sleep(0)
    await group.close()
    found = await asyncio.gather(*waiting, late, return_exceptions=True)
    assert all(isinstance(one, LogUnavailable) for one in found)
    with pytest.raises(LogUnavailable):
        await group.ask(8)
