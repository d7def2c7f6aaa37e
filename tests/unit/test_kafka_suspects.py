"""A broker that accepts connections and answers nothing: who finds out spares the others the waiting."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.protocol.admin import ApiVersionRequest

from events.log.kafka import suspects

LIMIT_SECONDS = 0.5
SOON_SECONDS = 0.3


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Of a server that is silent, while the library does what it does for every log."""
    monkeypatch.setattr(AIOKafkaConnection, "connect", suspects.connect)
    monkeypatch.setattr(AIOKafkaConnection, "send", suspects.send)
    monkeypatch.setattr(suspects, "_suspected_until", {})
    monkeypatch.setattr(suspects, "MOMENT_SECONDS", 0.01)
    monkeypatch.setattr(suspects, "VAIN_SECONDS", 0.05)
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def took(port: int) -> float:
    began = monotonic()
    with pytest.raises(TimeoutError):
        await create_conn("127.0.0.1", port, request_timeout_ms=int(LIMIT_SECONDS * 1000))
    return monotonic() - began


async def asked(port: int, limit_seconds: float) -> None:
    """Ask by a connection that stands already, and stop waiting."""
    connection = AIOKafkaConnection("127.0.0.1", port, request_timeout_ms=60_000)
    connection._do_version_lookup = lambda: asyncio.sleep(0)
    await connection.connect()
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(limit_seconds):
                await connection.send(ApiVersionRequest())
    finally:
        connection.close()


async def test_the_first_waits_its_whole_time_and_the_next_a_moment(port: int) -> None:
    assert await took(port) >= LIMIT_SECONDS
    assert await took(port) < SOON_SECONDS


async def test_a_broker_is_suspected_for_a_while_alone(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "SUSPECTED_SECONDS", 0.05)
    await took(port)
    await asyncio.sleep(0.06)
    assert await took(port) >= LIMIT_SECONDS


async def test_a_question_that_somebody_has_given_up_says_as_much(port: int) -> None:
    await asked(port, 0.1)
    assert await took(port) < SOON_SECONDS


async def test_a_question_that_was_given_up_at_once_says_nothing(port: int) -> None:
    await asked(port, 0.01)
    assert await took(port) >= LIMIT_SECONDS


async def test_a_broker_that_lets_somebody_in_is_suspected_no_more(port: int) -> None:
    await took(port)
    await asked(port, 0.01)
    assert await took(port) >= LIMIT_SECONDS


async def test_another_broker_is_not_suspected(port: int) -> None:
    await took(port)
    async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0) as other:
        assert await took(other.sockets[0].getsockname()[1]) >= LIMIT_SECONDS
