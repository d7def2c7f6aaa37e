"""Opening the log that is configured. The services cannot tell which it is."""

from hashlib import sha256

from events.log.port import EventLog
from events.log.postgres import PostgresLog
from services.servers import Servers
from services.settings import Settings

KAFKA = "kafka://"


async def open_log(settings: Settings, servers: Servers) -> EventLog:
    """The log at the configured address; raises LogUnavailable, and LogUnfit where waiting does not help."""
    if servers.log_url.startswith(KAFKA):
        # Only where it is needed: its client brings much with it.
        from services.kafka import open_kafka

        return await open_kafka(servers.log_url.removeprefix(KAFKA), settings)
    return await PostgresLog.open(
        servers.log_url,
        partition_count=settings.partitions,
        lease_seconds=settings.session_timeout_seconds,
    )


def log_remark(log: EventLog) -> str | None:
    """What an operator may want to know of a log that can be used, if anything."""
    if getattr(log, "replicas", None) == 1:  # a log on Kafka alone has them
        return "one broker alone holds each record of the log: it outlives a kill, no power cut and no lost disk"
    return None


def log_name(settings: Settings, servers: Servers) -> str:
    """A name of this log for things that belong to it alone, such as snapshots of its partitions."""
    return sha256(f"{settings.home_folder}\0{servers.log_url}\0{settings.topic_prefix}".encode()).hexdigest()[:16]
