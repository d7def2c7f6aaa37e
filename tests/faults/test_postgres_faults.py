"""Postgres leaves commits unanswered, is restarted and killed under builds: nothing is lost or done twice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from faults.driving import Load, build_until, verdict
from faults.ground import Ground, ground
from faults.outages import kill_server, stop_immediately
from faults.unanswered import COMMITS, cut_all
from servers.postgres import PostgresServer
from servers.postgres_proxy import PostgresProxy, postgres_proxy

FAULTS_SECONDS = 120.0
SETTLING_SECONDS = 90.0
CUTS = 2

pytestmark = pytest.mark.timeout(FAULTS_SECONDS + 2 * SETTLING_SECONDS)


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[PostgresServer]:
    server = PostgresServer(tmp_path / "postgres")
    await server.start()
    yield server
    await server.stop()


async def _strike_at_each(proxy: PostgresProxy, place: Ground, home: Path) -> None:
    """First unanswered commits, then a server that goes down in the midst of a step, and of a batch of rows."""
    for trap in cut_all(proxy, "postgres", CUTS).values():
        await trap.sprung.wait()
    for strike in (stop_immediately, kill_server):
        for name in ("step of the supervisor", "batch of the projector"):
            await _struck(proxy, name, lambda: strike(home))  # noqa: B023 - called before the next round
            before = place.observer.events
            while place.observer.events == before:
                await place.observer.moved(1.0)


async def _struck(proxy: PostgresProxy, name: str, strike: Callable[[], None]) -> None:
    await proxy.strike(COMMITS[name], strike).sprung.wait()


async def test_nothing_is_lost_or_done_twice_where_postgres_does_not_answer_stops_or_dies(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    async with own_server.fresh_database() as direct, postgres_proxy(direct) as proxy:
        url = proxy.through(direct)
        async with ground(tmp_path, url, url) as place:
            faults = asyncio.create_task(_strike_at_each(proxy, place, tmp_path / "postgres"), name="faults")
            try:
                await build_until(place, Load(3), faults.done, FAULTS_SECONDS)
            except TimeoutError:
                pytest.fail(f"faults that never came about\n{place.fleet.tails()}")
            await faults
            await place.until_all_ended(SETTLING_SECONDS)
            await place.until_served(SETTLING_SECONDS)
        found = await verdict(place)
        assert found == [], "\n".join(found)
