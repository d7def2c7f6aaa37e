"""A fleet tells of every end that nobody has brought about, and of no other."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from faults.fleet import SERVICES, Fleet
from faults.template import Template
from faults.test_template import LIMIT_SECONDS, MARKER, environment_of


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Services that wait for servers, all of which can hear."""
    template = Template()
    await template.open(tmp_path / "template.log", MARKER)
    made = Fleet(template, environment_of(tmp_path) | {"AUTOPACK_LISTEN": "127.0.0.1:0"}, tmp_path, {})
    try:
        async with made.running():
            await _until(lambda: all("is running" in made.said(one) for one in SERVICES if one != "api"))
            yield made
    finally:
        await template.close()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not holds():
            await asyncio.sleep(0.02)


async def test_a_service_that_somebody_else_has_killed_is_told_of_and_one_that_the_fleet_killed_is_not(
    fleet: Fleet,
) -> None:
    before = fleet.process_ids()
    fleet.kill("auditor")
    os.kill(before["builder"], signal.SIGKILL)
    await _until(lambda: len(fleet.process_ids().items() - before.items()) == 2)
    assert [(end.service, end.status) for end in fleet.unexpected] == [("builder", -signal.SIGKILL)]


async def test_a_member_may_end_by_the_sigterm_that_it_could_not_hear_yet_or_by_sigkill(fleet: Fleet) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        name = fleet.join("builder")
        await _until(lambda: name in fleet.process_ids())  # noqa: B023 - called before the next round
        await fleet.leave(name, number)
    assert fleet.unexpected == []


async def test_a_service_that_hears_sigterm_and_is_ended_by_it_has_not_ended_in_order(fleet: Fleet) -> None:
    name = fleet.join("builder")
    await _until(lambda: "is running" in fleet.said(name))
    child = fleet._children[name]
    fleet.send(name, signal.SIGTERM)
    await child.ended
    fleet._leaving.add(name)
    assert fleet._is_expected(name, child, 0)
    assert not fleet._is_expected(name, child, -signal.SIGTERM)
