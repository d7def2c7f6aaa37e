"""Brokers that have just not answered, and of which nobody in this process expects much until they do.

A broker that falls silent accepts connections all the same: its kernel does. The library picks brokers by chance
for much that any of them could answer, and every client of ours would find out for itself, a request's whole time
limit each, one behind the other. So whoever has waited in vain tells the others, who then give that broker but a
moment to answer when they connect to it.
"""

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import Any, TypeVar

from aiokafka.conn import AIOKafkaConnection

SUSPECTED_SECONDS = 15.0
MOMENT_SECONDS = 0.5
VAIN_SECONDS = 3.0
"""Whoever stops waiting after so long, by a limit of his own, has waited in vain as well."""

AnswerT = TypeVar("AnswerT")
Address = tuple[str, int]

_suspected_until: dict[Address, float] = {}
_connect = AIOKafkaConnection.connect
_send = AIOKafkaConnection.send


def tell_of_silence() -> None:
    """Have all connections of the library in this process do so; harmless when they do already."""
    AIOKafkaConnection.connect = connect
    AIOKafkaConnection.send = send


async def connect(connection: AIOKafkaConnection) -> Any:
    """Connect as the library does, but in no time to a broker that is suspected. Raises TimeoutError."""
    address = _address(connection)
    is_suspected = _suspected_until.get(address, 0.0) > monotonic()
    try:
        async with asyncio.timeout(MOMENT_SECONDS if is_suspected else None):
            streams = await _connect(connection)
    except TimeoutError:
        _suspect(address)
        raise
    _suspected_until.pop(address, None)
    return streams


def send(connection: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Awaitable[Any]:
    """Send as the library does, at once, and take note where no answer comes."""
    return _noted(_address(connection), _send(connection, request, expect_response))


async def _noted(address: Address, answer: Awaitable[AnswerT]) -> AnswerT:
    began = monotonic()
    try:
        return await answer
    except (TimeoutError, asyncio.CancelledError) as error:
        if isinstance(error, TimeoutError) or monotonic() - began >= VAIN_SECONDS:
            _suspect(address)
        raise


def _suspect(address: Address) -> None:
    _suspected_until[address] = monotonic() + SUSPECTED_SECONDS


def _address(connection: AIOKafkaConnection) -> Address:
    return connection.host, connection.port
