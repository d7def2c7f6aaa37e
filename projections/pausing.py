"""Waiting for whatever happens first, and not for ever."""

import asyncio


async def until_set(limit_seconds: float, *events: asyncio.Event) -> None:
    """Wait for the first of some events, so long at most."""
    waiting = [asyncio.ensure_future(one.wait()) for one in events]
    try:
        await asyncio.wait(waiting, timeout=limit_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
