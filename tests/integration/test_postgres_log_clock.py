"""The server's clock jumps: a member of a group is given up when it is silent, not when a clock says so."""

import asyncio
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest

from events.log.postgres import PostgresLog
from events.log.postgres.membership import SignsOfLife
from events.log.postgres.server import Pool
from events.log.postgres.wakeups import CHANNELS
from support.shifted_clock import connected, jump, shift_clock

GROUP = "builder"
LIMIT_SECONDS = 60
LEASE = "SELECT lease_until FROM autopack_log.members WHERE instance = $1"
OTHER_JOINS = """
INSERT INTO autopack_log.members (group_name, instance, lease_until)
VALUES ($1, 'other', shifted.clock_timestamp() + make_interval(secs => $2))
"""
OTHER_LIVES = "SELECT count(*) FROM autopack_log.members WHERE instance = 'other'"


@pytest.fixture
async def url(database_url: str) -> str:
    await shift_clock(database_url)
    return database_url


async def _ask(url: str, statement: str, *arguments: object) -> object:
    async with connected(url) as connection:
        return await connection.fetchval(statement, *arguments)


async def _looks(url: str, instance: str) -> None:
    """Have a member look after the others, and wait until it has begun to."""
    before = await _ask(url, LEASE, instance)
    await _ask(url, "SELECT pg_notify($1, '')", f"{CHANNELS}group.{GROUP}")
    async with asyncio.timeout(LIMIT_SECONDS):
        while await _ask(url, LEASE, instance) == before:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(days=1)])
async def test_a_member_that_lives_is_not_given_up_because_the_servers_clock_jumps_ahead(
    url: str, by: timedelta
) -> None:
    log = await PostgresLog.open(url, 1, lease_seconds=300.0)
    member = await log.join(GROUP)
    await _ask(url, OTHER_JOINS, GROUP, 300.0)
    await jump(url, by)
    for _ in range(2):  # the second time the first look is over
        await _looks(url, member.instance)
    assert await _ask(url, OTHER_LIVES) == 1
    await log.close()


@pytest.mark.parametrize("by", [-timedelta(hours=1), -timedelta(days=1)])
async def test_a_member_that_has_died_is_given_up_though_the_servers_clock_was_set_back(
    url: str, by: timedelta
) -> None:
    log = await PostgresLog.open(url, 1, lease_seconds=0.6)
    await log.join(GROUP)
    await _ask(url, OTHER_JOINS, GROUP, 0.6)
    await jump(url, by)
    async with asyncio.timeout(LIMIT_SECONDS):
        while await _ask(url, OTHER_LIVES):
            await asyncio.sleep(0.02)
    await log.close()


async def test_a_member_that_has_died_is_given_up_by_one_that_is_always_late(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So slow is a server, or a machine, that every lease has lapsed before it is renewed."""
    fetch = Pool.fetch

    async def slow(self: Pool, doing: str, *given: object, **named: Any) -> object:
        if doing.startswith("staying in"):
            await asyncio.sleep(0.45)
        return await fetch(self, doing, *given, **named)

    monkeypatch.setattr(Pool, "fetch", slow)
    log = await PostgresLog.open(url, 1, lease_seconds=0.6)
    await log.join(GROUP)
    await _ask(url, OTHER_JOINS, GROUP, 0.6)
    async with asyncio.timeout(LIMIT_SECONDS):
        while await _ask(url, OTHER_LIVES):
            await asyncio.sleep(0.02)
    await log.close()


def test_whoever_gives_a_sign_in_time_is_never_silent_and_whoever_gives_none_is() -> None:
    signs, lease = SignsOfLife(), datetime(2026, 1, 1)
    for second in count():
        leases = {"lives": lease + timedelta(seconds=second // 2), "is dead": lease}
        silent = signs.silent(leases, float(second), 3.0)
        if second == 3:
            break
        assert silent == {}
    assert silent == {"is dead": lease}


def test_whoever_was_away_itself_begins_to_watch_anew() -> None:
    signs, leases = SignsOfLife(), {"other": datetime(2026, 1, 1)}
    assert signs.silent(leases, 0.0, 3.0) == {}
    signs.begin_anew(10.0)
    assert signs.silent(leases, 10.0, 3.0) == {}
    assert signs.silent(leases, 13.0, 3.0) == leases
