"""The servers of one log that chaos takes away: `kafka` is one broker, `cluster` three, killed one at a time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from faults.outages import Outage, outages_of_cluster, outages_of_kafka, outages_of_postgres
from servers.kafka import KafkaBroker
from servers.kafka_cluster import KafkaCluster
from servers.postgres import PostgresServer
from servers.postgres_proxy import PostgresProxy, postgres_proxy

LOGS = ("postgres", "kafka", "cluster")


@dataclass(frozen=True)
class Outages:
    """Those that some services can do without or hear of late, and those that make all of them say so."""

    of_some: dict[str, Outage]
    of_all: dict[str, Outage]

    def with_broker(self, broker: KafkaBroker | KafkaCluster) -> "Outages":
        """Those of the log as well: without the one broker there is nobody can go on, without one of three all."""
        if isinstance(broker, KafkaCluster):
            return Outages(self.of_some | dict(outages_of_cluster(broker)), self.of_all)
        return Outages(self.of_some, self.of_all | dict(outages_of_kafka(broker)))


@dataclass(frozen=True)
class Servers:
    """A log and a database of their own, through a proxy that can cut their connections."""

    log_url: str
    database_url: str
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
        outages = Outages(dict(outages_of_postgres(folder / "postgres")), {})
        if log != "postgres":
            broker = KafkaBroker(folder / "kafka") if log == "kafka" else KafkaCluster(folder / "kafka")
            stack.push_async_callback(broker.stop)
            await broker.start()
            log_url = f"kafka://{broker.bootstrap}"
            outages = outages.with_broker(broker)
        yield Servers(log_url, database_url, proxy, outages)
