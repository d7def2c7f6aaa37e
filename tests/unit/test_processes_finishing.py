"""Two works side by side: both are done, or neither goes on."""

import asyncio

import pytest

from services.processes.finishing import side_by_side


class Broken(Exception):
    """What one of them fails with"""


async def fail() -> None:
    raise Broken


async def test_what_both_return_comes_back_in_their_order():
    one, other = asyncio.Event(), asyncio.Event()

    async def first() -> str:
        one.set()
        await other.wait()
        return "first"

    async def second() -> str:
        other.set()
        await one.wait()
        return "second"

    assert await side_by_side(first(), second()) == ("first", "second")


@pytest.mark.parametrize("fails_first", [True, False])
async def test_the_failure_of_one_ends_the_other_and_is_raised_as_it_is(fails_first: bool):
    ended: list[str] = []

    async def go_on() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("the other")

    works = (fail(), go_on()) if fails_first else (go_on(), fail())
    with pytest.raises(Broken):
        await side_by_side(*works)
    assert ended == ["the other"]


async def test_whoever_waits_is_cancelled_with_both():
    ended: list[str] = []

    async def go_on(name: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(name)

    task = asyncio.create_task(side_by_side(go_on("one"), go_on("other")))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == ["one", "other"]
