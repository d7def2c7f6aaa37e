"""Opening the log that is configured. The services cannot tell which it is."""

from hashlib import sha256
from pathlib import Path

from aiokafka.helpers import create_ssl_context

from events.log.kafka import KafkaLog, Security, Timing
from events.log.port import EventLog, LogUnfit
from events.log.postgres import PostgresLog
from services.servers import Servers
from services.settings import Settings

KAFKA = "kafka://"


async def open_log(settings: Settings, servers: Servers) -> EventLog:
    """The log at the configured address; raises LogUnavailable, and LogUnfit where waiting does not help."""
    if servers.log_url.startswith(KAFKA):
        return await KafkaLog.open(
            servers.log_url.removeprefix(KAFKA),
            settings.partitions,
            security=_security(settings),
            timing=Timing(session_seconds=settings.session_timeout_seconds),
            topic_prefix=settings.topic_prefix,
            replication_factor=settings.replication_factor,
        )
    return await PostgresLog.open(
        servers.log_url,
        partition_count=settings.partitions,
        lease_seconds=settings.session_timeout_seconds,
    )


def log_remark(log: EventLog) -> str | None:
    """What an operator may want to know of a log that can be used, if anything."""
    if isinstance(log, KafkaLog) and log.replicas == 1:
        return "one broker alone holds each record of the log: it outlives a kill, no power cut and no lost disk"
    return None


def _security(settings: Settings) -> Security:
    context = None
    if settings.kafka_security_protocol.endswith("SSL"):
        try:
            context = create_ssl_context(
                cafile=_path(settings.kafka_ssl_cafile),
                certfile=_path(settings.kafka_ssl_certfile),
                keyfile=_path(settings.kafka_ssl_keyfile),
            )
        except OSError as error:  # a file that is missing, or is none of those
            raise LogUnfit(f"the certificates of the Kafka settings cannot be used: {error}") from error
    return Security(
        protocol=settings.kafka_security_protocol,
        ssl_context=context,
        mechanism=settings.kafka_sasl_mechanism or "PLAIN",
        user=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password,
    )


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)


def log_name(settings: Settings, servers: Servers) -> str:
    """A name of this log for things that belong to it alone, such as snapshots of its partitions."""
    return sha256(f"{settings.home_folder}\0{servers.log_url}\0{settings.topic_prefix}".encode()).hexdigest()[:16]
