"""Postgres answers no commits, is restarted, killed and replaced under builds: nothing is lost or done twice."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from faults.driving import Load, build_while, verdict
from faults.ground import Ground, ground
from faults.invariants.gathering import read_starts
from faults.observer import Run
from faults.outages import keep_unwritten, kill_server, stop_immediately
from faults.unanswered import COMMITS, cut_all
from servers.postgres import PostgresServer
from servers.postgres_proxy import PostgresProxy, postgres_proxy
from servers.postgres_standby import PostgresStandby, standby_of

FAULTS_SECONDS = 120.0
SETTLING_SECONDS = 90.0
CUTS = 2
LOOK_SECONDS = 0.05

pytestmark = pytest.mark.timeout(FAULTS_SECONDS + 2 * SETTLING_SECONDS)


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[PostgresServer]:
    server = PostgresServer(tmp_path / "postgres")
    await server.start()
    yield server
    await server.stop()


ANSWERS_OF_BUILDERS = """
SELECT count(*) FROM autopack_log.records
WHERE topic = ANY ($2::text[]) AND headers->>'type' = 'autopack.BuildSucceeded.v1'
    AND convert_from(value, 'UTF8')::json->>'runid' = $1
"""
RESULTS, HISTORY = "autopack.results", "autopack.events"
DECIDING = ("supervisor", "projector")
SLEEPING = (*DECIDING, "builder")
"""Whoever commits so that it waits for the disk, and whoever could submit again what is to be lost."""


async def _strike_at_each(proxy: PostgresProxy, place: Ground, home: Path) -> None:
    """First unanswered commits, then a server that goes down in the midst of a step, and of a batch of rows."""
    for trap in cut_all(proxy, "postgres", CUTS).values():
        await trap.until_sprung()
    for strike in (stop_immediately, kill_server):
        for name in ("step of the supervisor", "batch of the projector"):
            await _struck(proxy, name, lambda: strike(home))  # noqa: B023 - called before the next round
            await place.observer.until_moved()


async def _struck(proxy: PostgresProxy, name: str, strike: Callable[[], None]) -> None:
    """Until the server has gone down in the midst of such a statement, and has never said that it is done."""
    trap = proxy.strike(COMMITS[name], strike)
    await trap.until_sprung()
    print(f"{name}: struck in its midst, after {trap.in_vain} times in which the answer was sooner")


async def test_nothing_is_lost_or_done_twice_where_postgres_does_not_answer_stops_or_dies(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    async with own_server.fresh_database() as direct, postgres_proxy(direct) as proxy:
        url = proxy.through(direct)
        async with ground(tmp_path, url, url, direct_url=direct) as place:
            faults = _strike_at_each(proxy, place, tmp_path / "postgres")
            try:
                await build_while(place, Load(3), faults, FAULTS_SECONDS)
            except TimeoutError:
                pytest.fail(f"faults that never came about\n{place.fleet.tails()}")
            await place.until_all_ended(SETTLING_SECONDS)
            await place.until_served(SETTLING_SECONDS)
        found = await verdict(place)
        assert found == [], "\n".join(found)


async def _answer(url: str, statement: str, *arguments: object) -> int | None:
    """What the server says to a question; None while it is down."""
    try:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement, *arguments)
        finally:
            connection.terminate()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None


async def _building(place: Ground) -> str:
    """A run whose builder was at work, or just done, when those who would write down its answer were stopped."""
    plan = place.plans.next(1)
    await place.emitter.submit(plan)
    run = (plan["project"], plan["run_id"])
    while not (run in place.observer.ended or _is_being_built(place, run)):
        await place.observer.moved(LOOK_SECONDS)
    for service in DECIDING:
        place.fleet.send(service, signal.SIGSTOP)
    return run[1]


def _is_being_built(place: Ground, run: Run) -> bool:
    requests = (one for one in place.observer.open.values() if one.run == run)
    return any(one.kind == "BuildRequested" and one.is_claimed for one in requests)


def _is_kept(place: Ground, run_id: str) -> bool:
    """Whether an answer of a builder in this run is in the artifact store."""
    kept = Path(place.world.artifacts.removeprefix("file://")).glob("named/results/builder/*/*")
    return any(f'"{run_id}"'.encode() in file.read_bytes() for file in kept)


async def _lose_a_result(place: Ground, url: str, home: Path) -> None:
    """A builder's answer is in the log and not on the disk when the server dies. All who could help are asleep."""
    async with asyncio.timeout(FAULTS_SECONDS):
        while await _answer(url, ANSWERS_OF_BUILDERS, run_id := await _building(place), [RESULTS, HISTORY]) != 0:
            for service in DECIDING:  # they were stopped too late for this one
                place.fleet.send(service, signal.SIGCONT)
            await place.until_all_ended(SETTLING_SECONDS)
        keep_unwritten(home)
        # Kept and submitted side by side: it may be in the log, of which it is to be lost, before it is kept.
        while not (await _answer(url, ANSWERS_OF_BUILDERS, run_id, [RESULTS]) and _is_kept(place, run_id)):
            await asyncio.sleep(LOOK_SECONDS)
        place.fleet.send("builder", signal.SIGSTOP)
        kill_server(home)
        while (left := await _answer(url, ANSWERS_OF_BUILDERS, run_id, [RESULTS])) is None:
            await asyncio.sleep(LOOK_SECONDS)
        assert left == 0, "the answer was to be lost, or the test shows nothing"


async def test_an_answer_that_died_with_the_server_is_given_again_and_no_agent_started_again(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """By the builder that gave it, and where that was killed too, by the next one, which finds it kept."""
    home = tmp_path / "postgres"
    async with own_server.fresh_database() as url:
        async with ground(tmp_path, url, url, agent_seconds=2.0) as place:
            for builder_dies in (False, True):
                await _lose_a_result(place, url, home)
                if builder_dies:
                    place.fleet.kill("builder")
                for service in SLEEPING:
                    place.fleet.send(service, signal.SIGCONT)
                await place.until_all_ended(SETTLING_SECONDS)
            await place.until_served(SETTLING_SECONDS)
        found = await verdict(place)
        assert found == [], "\n".join(found)
        starts = Counter((s.role, s.run_id, s.phase_id, s.attempt) for s in read_starts(place.world.agent_starts))
        assert set(starts.values()) == {1}, starts


EVENTS = "SELECT sum(next_offset) FROM autopack_log.heads WHERE topic = $1"


async def _hand_over(place: Ground, server: PostgresServer, standby: PostgresStandby) -> None:
    """A standby takes the server's place, which goes on answering whoever reads until the services have left."""
    await place.observer.until_moved()
    await standby.take_over()
    taken_over = await _answer(standby.url, EVENTS, HISTORY)
    assert taken_over is not None
    while (now := await _answer(standby.url, EVENTS, HISTORY)) is None or now <= taken_over:
        await asyncio.sleep(LOOK_SECONDS)
    await server.stop()
    await place.observer.until_moved()


async def test_builds_go_on_where_a_standby_takes_over_and_nothing_is_lost_or_done_twice(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    async with standby_of(own_server.url, tmp_path / "standby") as standby:
        url = standby.url_of_both
        async with ground(tmp_path, url, url) as place:
            faults = _hand_over(place, own_server, standby)
            await build_while(place, Load(3), faults, FAULTS_SECONDS)
            await place.until_all_ended(SETTLING_SECONDS)
            await place.until_served(SETTLING_SECONDS)
        found = await verdict(place)
        assert found == [], "\n".join(found)
