"""Whether the brokers refuse us for ever: the library says no more than that it found none."""

import asyncio
import ssl

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from events.log.kafka.connection import Connection

REFUSALS = (
    AuthenticationFailedError,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
    ssl.SSLCertVerificationError,
)
"""Wrong user, password, mechanism or certificate: what no waiting mends."""


async def refusal(connection: Connection) -> Exception | None:
    """How one of the brokers has refused us, if one has; those that are away say nothing."""
    for host, port, _ in collect_hosts(connection.bootstrap):
        try:
            async with asyncio.timeout(connection.timing.checking_seconds):
                opened = await create_conn(host, port, **connection.probing_settings())
        except REFUSALS as error:
            return error
        except (KafkaError, OSError):
            continue
        opened.close()
    return None
