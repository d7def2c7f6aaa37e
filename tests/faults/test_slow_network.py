"""Servers a twentieth of a second away, either way: all takes longer, and nothing is given up for that."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from faults.driving import verdict
from faults.fleet import SERVICES
from faults.ground import ground
from servers.kafka import KafkaBroker
from servers.postgres import PostgresServer
from servers.postgres_proxy import postgres_proxy
from servers.proxy import proxies

DELAY_SECONDS = 0.05
SESSION_SECONDS = 3.0
SETTLING_SECONDS = 180.0
RUNS, PHASES_EACH = 2, 1
GIVEN_UP = ("no answer within", "expelled", "projector waits", "left to another instance")
"""What services say where one time limit brings down the next."""

pytestmark = pytest.mark.timeout(3 * SETTLING_SECONDS)


@dataclass(frozen=True)
class Servers:
    """The addresses of servers far away, and that of the database from nearby."""

    log_url: str
    database_url: str
    direct_url: str
    topic_prefix: str = ""


@asynccontextmanager
async def _on_postgres(server: PostgresServer, broker: KafkaBroker) -> AsyncIterator[Servers]:
    async with server.fresh_database() as direct, postgres_proxy(direct, DELAY_SECONDS) as proxy:
        yield Servers(proxy.through(direct), proxy.through(direct), direct)


@asynccontextmanager
async def _on_kafka(server: PostgresServer, broker: KafkaBroker) -> AsyncIterator[Servers]:
    async with (
        server.fresh_database() as direct,
        postgres_proxy(direct, DELAY_SECONDS) as proxy,
        proxies([broker.port], DELAY_SECONDS) as (before,),
    ):
        log = f"kafka://{before.bootstrap}"
        yield Servers(log, proxy.through(direct), direct, f"slow-{uuid4().hex[:8]}-")


@pytest.mark.parametrize("far_away", [_on_postgres, _on_kafka])
async def test_builds_go_on_slowly_where_servers_are_far_away(
    far_away: Callable[[PostgresServer, KafkaBroker], AbstractAsyncContextManager[Servers]],
    tmp_path: Path,
    postgres_server: PostgresServer,
    kafka_broker: KafkaBroker,
) -> None:
    async with far_away(postgres_server, kafka_broker) as where:
        async with ground(tmp_path, **asdict(where), session_seconds=SESSION_SECONDS) as place:
            for _ in range(RUNS):
                await place.emitter.submit(place.plans.next(PHASES_EACH))
            await place.until_all_ended(SETTLING_SECONDS)
            await place.until_served(SETTLING_SECONDS)
            said = {name: place.fleet.output_of(name).read_text("utf-8", "replace") for name in SERVICES}
        found = await verdict(place)
    assert found == [], "\n".join(found)
    assert len(place.observer.ended) == RUNS
    assert [f"{name}: {words}" for name, text in said.items() for words in GIVEN_UP if words in text] == []
