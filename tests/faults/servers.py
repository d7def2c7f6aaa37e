"""The servers of one log that chaos takes away: `kafka` is one broker, `cluster` three, killed one at a time."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from faults.outages import POSTGRES_AWAY, Outage, outages_of_cluster, outages_of_kafka, outages_of_postgres
from servers.kafka import KafkaBroker
from servers.kafka_cluster import KafkaCluster
from servers.postgres import PostgresServer
from servers.postgres_proxy import PostgresProxy, postgres_proxy

LOGS = ("postgres", "kafka", "cluster")


@dataclass(frozen=True)
class Outages:
    """Those that end by themselves or leave the log alone; those of one broker of several, without which all goes
    on; and those of the log, of which all services say so.
    """

    passing: Mapping[str, Outage]
    of_one_of_several: Mapping[str, Outage]
    of_the_log: Mapping[str, Outage]


def _outages(postgres: Path, broker: KafkaBroker | KafkaCluster | None) -> Outages:
    of_postgres = dict(outages_of_postgres(postgres))
    if isinstance(broker, KafkaCluster):
        return Outages(of_postgres, outages_of_cluster(broker), {})
    if isinstance(broker, KafkaBroker):
        return Outages(of_postgres, {}, outages_of_kafka(broker))
    away = {POSTGRES_AWAY: of_postgres.pop(POSTGRES_AWAY)}
    return Outages(of_postgres, {}, away)


@dataclass(frozen=True)
class Servers:
    """A log and a database of their own, through a proxy that can cut their connections.

    `direct_url` is the address of the database past that proxy.
    """

    log_url: str
    database_url: str
    direct_url: str
    proxy: PostgresProxy
    outages: Outages


@asynccontextmanager
async def servers(log: str, folder: Path) -> AsyncIterator[Servers]:
    """Start those of one of LOGS; they have ended afterwards."""
    async with AsyncExitStack() as stack:
        server = PostgresServer(folder / "postgres")
        await server.start()
        stack.push_async_callback(server.stop)
        direct_url = await stack.enter_async_context(server.fresh_database())
        proxy = await stack.enter_async_context(postgres_proxy(direct_url))
        database_url = log_url = proxy.through(direct_url)
        broker: KafkaBroker | KafkaCluster | None = None
        if log != "postgres":
            broker = KafkaBroker(folder / "kafka") if log == "kafka" else KafkaCluster(folder / "kafka")
            stack.push_async_callback(broker.stop)
            await broker.start()
            log_url = f"kafka://{broker.bootstrap}"
        yield Servers(log_url, database_url, direct_url, proxy, _outages(folder / "postgres", broker))
