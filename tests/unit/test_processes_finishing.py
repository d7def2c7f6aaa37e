"""Work that is done to its end, though we are cancelled; two side by side are both done, or neither goes on."""

import asyncio
import gc

import pytest

from services.processes.finishing import in_any_case, side_by_side


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
async def test_the_failure_of_one_is_raised_as_it_is_once_the_other_is_done(fails_first: bool):
    done: list[str] = []

    async def take_a_while() -> None:
        await asyncio.sleep(0.02)
        done.append("the other")

    works = (fail(), take_a_while()) if fails_first else (take_a_while(), fail())
    with pytest.raises(Broken):
        await side_by_side(*works)
    assert done == ["the other"]


async def test_a_cancellation_is_not_lost_between_the_failure_of_one_and_the_end_of_the_other():
    failed = asyncio.Event()

    async def fail_and_tell() -> None:
        failed.set()
        raise Broken

    async def end_slowly() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)

    task = asyncio.create_task(side_by_side(fail_and_tell(), end_slowly()))
    await failed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


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


@pytest.mark.parametrize("fails", [False, True])
async def test_what_is_done_in_any_case_is_waited_for_and_no_failure_of_it_is_reported_as_forgotten(fails: bool):
    begun, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    forgotten: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: forgotten.append(context["message"]))

    async def work() -> None:
        begun.set()
        await go.wait()
        done.set()
        if fails:
            raise Broken

    task = asyncio.create_task(in_any_case(work()))
    await begun.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    await asyncio.wait({task})
    assert task.cancelled()
    assert done.is_set()
    del task
    gc.collect()
    assert forgotten == []
