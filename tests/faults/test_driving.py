"""Builds and faults go on together: where one of them fails, the other does not hide it."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from faults.builds import Plans, targets
from faults.driving import Load, build_while
from faults.ground import Ground
from faults.observer import Observer

LIMIT_SECONDS = 60.0
AT_ONCE = 3


class _Silent:
    """A log and an API that never take what they are given."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def submit(self, data: Any, key: str | None = None) -> None:
        self.asked.append(data)
        await asyncio.Event().wait()

    post = submit


async def test_faults_that_fail_end_builds_that_cannot_and_are_named(tmp_path: Any) -> None:
    silent = _Silent()

    async def faults() -> None:
        while len(silent.asked) < AT_ONCE:
            await asyncio.sleep(0)
        raise ValueError("the fault itself failed")

    place = SimpleNamespace(
        emitter=silent,
        observer=Observer(cast(Any, SimpleNamespace(partition_count=2))),
        plans=Plans(targets(tmp_path)),
    )
    began = asyncio.get_running_loop().time()
    with pytest.raises(ExceptionGroup, match="unhandled") as caught:
        await build_while(cast(Ground, place), Load(AT_ONCE), faults(), LIMIT_SECONDS)
    assert caught.group_contains(ValueError, match="the fault itself failed")
    assert asyncio.get_running_loop().time() - began < LIMIT_SECONDS / 2
