"""Brokers that have just not answered, and of which nobody in this process expects much for a while.

A broker that falls silent accepts connections all the same: its kernel does. The library picks brokers by chance
for much that any of them could answer, and every client of ours would find out for itself, a request's whole time
limit each, one behind the other. So whoever has waited in vain tells the others, who then give that broker but a
moment for what a broker that lives answers at once.
"""

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest

SUSPECTED_SECONDS = 15.0
MOMENT_SECONDS = 1.0
VAIN_SECONDS = 1.0
"""Whoever stops waiting after so long, by a limit of his own, has waited in vain as well."""
ANSWERED_AT_ONCE = (MetadataRequest, FindCoordinatorRequest, HeartbeatRequest, OffsetRequest, FetchRequest)
"""What a broker that lives answers without waiting for any other. Much else it cannot: what is to be on several
brokers waits for all of them, and the silent one need not be the one that was asked. That one has shown it as soon
as it lets somebody in.
"""

Address = tuple[str, int]

_answered_at: dict[Address, float] = {}
_suspected_until: dict[Address, float] = {}
_connect = AIOKafkaConnection.connect
_send = AIOKafkaConnection.send


def tell_of_silence() -> None:
    """Have all connections of the library in this process do so; harmless when they do already."""
    AIOKafkaConnection.connect = connect
    AIOKafkaConnection.send = send


async def connect(connection: AIOKafkaConnection) -> Any:
    """Connect as the library does, but in no time to a broker that is suspected. Raises TimeoutError.

    When its time as a suspect is over, one attempt may take its time, and the others are short meanwhile.
    """
    address, began = _address(connection), monotonic()
    is_suspected = _is_suspected(address)
    if address in _suspected_until and not is_suspected:
        _suspect(address)
    try:
        async with asyncio.timeout(_moment(address) if is_suspected else None):
            streams = await _connect(connection)
    except (TimeoutError, asyncio.CancelledError) as error:
        if not is_suspected and _is_in_vain(error, began):
            _suspect(address)
        raise
    _trust(address)
    return streams


def send(connection: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Awaitable[Any]:
    """Send as the library does, at once, and take note where no answer comes."""
    answer: Awaitable[Any] = _send(connection, request, expect_response)
    return _noted(connection, answer, is_at_once=isinstance(request, ANSWERED_AT_ONCE))


async def _noted(connection: AIOKafkaConnection, answer: Awaitable[Any], *, is_at_once: bool) -> Any:
    address, began = _address(connection), monotonic()
    try:
        async with asyncio.timeout(_moment(address) if is_at_once else None):
            found = await answer
    except (TimeoutError, asyncio.CancelledError) as error:
        if _is_in_vain(error, began):
            if not _is_suspected(address):
                _suspect(address)
            if is_at_once:
                connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
        raise
    if is_at_once:
        _trust(address)
    return found


def _moment(address: Address) -> float | None:
    """What a suspected broker gets, where another has just answered: else there is nobody to turn to."""
    if not _is_suspected(address):
        return None
    since = monotonic() - SUSPECTED_SECONDS
    has_others = any(at > since for other, at in _answered_at.items() if other != address)
    return MOMENT_SECONDS if has_others else None


def _is_suspected(address: Address) -> bool:
    return _suspected_until.get(address, 0.0) > monotonic()


def _is_in_vain(error: BaseException, began: float) -> bool:
    return isinstance(error, TimeoutError) or monotonic() - began >= VAIN_SECONDS


def _trust(address: Address) -> None:
    _answered_at[address] = monotonic()
    _suspected_until.pop(address, None)


def _suspect(address: Address) -> None:
    _suspected_until[address] = monotonic() + SUSPECTED_SECONDS


def _address(connection: AIOKafkaConnection) -> Address:
    return connection.host, connection.port
