"""Waiting for what comes when it comes, and no longer than a deadline."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from events.log.port import Place, StoredRecord, Tail

LIMIT_SECONDS = 45.0
"""Long, for a broker that shares out partitions anew on a busy machine: only a failing test waits for it."""


async def until(condition: Callable[[], Awaitable[bool]], what: str, limit_seconds: float = LIMIT_SECONDS) -> None:
    """Return when the condition holds; fail, saying what was waited for, when it does not in time."""
    try:
        async with asyncio.timeout(limit_seconds):
            while not await condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"within {limit_seconds:g} s there was not: {what}") from None


async def collect(tail: Tail, count: int, limit_seconds: float = LIMIT_SECONDS) -> dict[Place, list[StoredRecord]]:
    """The next records of a tail, by place: so many, or more where they come together."""
    found: dict[Place, list[StoredRecord]] = {}
    try:
        async with asyncio.timeout(limit_seconds):
            while sum(map(len, found.values())) < count:
                for place, records in (await tail.batches(1.0)).items():
                    found.setdefault(place, []).extend(records)
    except TimeoutError:
        counts = {place: len(records) for place, records in found.items()}
        raise AssertionError(f"within {limit_seconds:g} s {counts} came, not {count}") from None
    return found


def texts(records: Sequence[StoredRecord]) -> list[str]:
    """Their values as text."""
    return [record.value.decode() for record in records]
