"""Waiting for whatever happens first, and not for ever."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Outcome = TypeVar("Outcome")


async def until_set(limit_seconds: float, *events: asyncio.Event) -> None:
    """Wait for the first of some events, so long at most."""
    waiting = [asyncio.ensure_future(one.wait()) for one in events]
    try:
        await asyncio.wait(waiting, timeout=limit_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


async def cut_short(
    doing: Coroutine[Any, Any, Outcome], stop: asyncio.Event, grace_seconds: float = 0.0
) -> asyncio.Task[Outcome]:
    """Do it; once `stop` is set it has so long, and is cancelled then. The task, which has ended in any case."""
    work, told = asyncio.create_task(doing), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({work}, timeout=grace_seconds)
    finally:
        for task in (work, told):
            task.cancel()
        await asyncio.wait({work, told})
    return work
