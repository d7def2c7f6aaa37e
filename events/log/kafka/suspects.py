"""Brokers that have just not answered, and of which nobody in this process expects much for a while.

A broker that falls silent accepts connections all the same: its kernel does. The library picks brokers by chance
for much that any of them could answer, and every client of ours would find out for itself, a request's whole time
limit each, one behind the other. So whoever has waited in vain closes the connection, and tells the others: they
then give that broker but a moment to answer when they connect to it.
"""

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest

SUSPECTED_SECONDS = 15.0
MOMENT_SECONDS = 0.5
VAIN_SECONDS = 1.0
"""Whoever stops waiting after so long, by a limit of his own, has waited in vain as well."""
ANSWERED_AT_ONCE = (
    *(ApiVersionRequest, MetadataRequest, FindCoordinatorRequest),
    *(HeartbeatRequest, OffsetRequest, FetchRequest),
)
"""What a broker that lives answers without waiting for any other. Much else it cannot: what is to be on several
brokers waits for all of them, and a silent one among them is not the one that was asked.
"""

Address = tuple[str, int]

_known: set[Address] = set()
_suspected_until: dict[Address, float] = {}
_connect = AIOKafkaConnection.connect
_send = AIOKafkaConnection.send


def tell_of_silence() -> None:
    """Have all connections of the library in this process do so; harmless when they do already."""
    AIOKafkaConnection.connect = connect
    AIOKafkaConnection.send = send


async def connect(connection: AIOKafkaConnection) -> Any:
    """Connect as the library does, but in no time to a broker that is suspected. Raises TimeoutError.

    When its time as a suspect is over, one attempt may take its time, and the others are short until that has
    succeeded. Where all that are known are suspected there is nobody to turn to, and all take their time.
    """
    address, now = _address(connection), monotonic()
    is_suspected = _suspected_until.get(address, now) > now
    has_others = any(_suspected_until.get(other, now) <= now for other in _known - {address})
    if address in _suspected_until and not is_suspected:
        _suspect(address)
    try:
        async with asyncio.timeout(MOMENT_SECONDS if is_suspected and has_others else None):
            streams = await _connect(connection)
    except TimeoutError:
        if not is_suspected:
            _suspect(address)
        raise
    _known.add(address)
    _suspected_until.pop(address, None)
    return streams


def send(connection: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Awaitable[Any]:
    """Send as the library does, at once, and take note where no answer comes."""
    answer: Awaitable[Any] = _send(connection, request, expect_response)
    return _noted(connection, answer) if isinstance(request, ANSWERED_AT_ONCE) else answer


async def _noted(connection: AIOKafkaConnection, answer: Awaitable[Any]) -> Any:
    began = monotonic()
    try:
        return await answer
    except (TimeoutError, asyncio.CancelledError) as error:
        if isinstance(error, TimeoutError) or monotonic() - began >= VAIN_SECONDS:
            _suspect(_address(connection))
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
        raise


def _suspect(address: Address) -> None:
    _suspected_until[address] = monotonic() + SUSPECTED_SECONDS


def _address(connection: AIOKafkaConnection) -> Address:
    return connection.host, connection.port
