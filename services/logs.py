"""Opening the log that is configured. The services cannot tell which it is."""

from hashlib import sha256

from events.log.port import EventLog
from events.log.postgres import PostgresLog
from services.servers import Servers
from services.settings import Settings

KAFKA = "kafka://"


async def open_log(settings: Settings, servers: Servers) -> EventLog:
    """The log at the configured address; raises LogUnavailable."""
    return await PostgresLog.open(
        servers.log_url,
        partition_count=settings.partitions,
        lease_seconds=settings.session_timeout_seconds,
    )


def log_name(settings: Settings, servers: Servers) -> str:
    """A name of this log for things that belong to it alone, such as snapshots of its partitions."""
    return sha256(f"{settings.home_folder}\0{servers.log_url}".encode()).hexdigest()[:16]
