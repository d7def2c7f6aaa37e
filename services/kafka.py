"""Opening the log on Kafka: how its brokers are reached, from the settings."""

from pathlib import Path

from aiokafka.helpers import create_ssl_context

from events.log.kafka import KafkaLog, Security, Timing
from events.log.port import LogUnfit
from services.settings import Settings


async def open_kafka(brokers: str, settings: Settings) -> KafkaLog:
    """The log at `host:port,…`; raises LogUnavailable, and LogUnfit where waiting does not help."""
    return await KafkaLog.open(
        brokers,
        settings.partitions,
        security=_security(settings),
        timing=Timing(session_seconds=settings.session_timeout_seconds),
        topic_prefix=settings.topic_prefix,
        replication_factor=settings.replication_factor,
    )


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
