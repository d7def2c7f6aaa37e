"""Work that is done to its end, even while we are being cancelled."""

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")
OtherT = TypeVar("OtherT")


async def finished(work: asyncio.Future[Any]) -> None:
    """Wait for the end, however often we are cancelled meanwhile: a child left alone is worse."""
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([work])


async def in_any_case(work: Awaitable[ResultT]) -> ResultT:
    """Do it to the end, even when we are cancelled; the cancellation goes on afterwards, whatever came of it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await finished(task)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as forgotten
        raise


async def side_by_side(
    one: Coroutine[Any, Any, ResultT], other: Coroutine[Any, Any, OtherT]
) -> tuple[ResultT, OtherT]:
    """What both return. Where one fails the other is done all the same: killed in its midst it would leave traces.

    Cancelled, both are cancelled and waited for.
    """
    tasks = asyncio.ensure_future(one), asyncio.ensure_future(other)
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await finished(asyncio.gather(*tasks, return_exceptions=True))
        raise
    for task in tasks:
        task.exception()  # looked at, so that asyncio does not report the second as forgotten
    return tasks[0].result(), tasks[1].result()
