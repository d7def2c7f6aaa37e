"""A broker that accepts connections and answers nothing: who finds out spares the others the waiting."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import EndTxnRequest

from events.log.kafka import suspects
from events.log.kafka.library import tune

LIMIT_SECONDS = 1.0
"""Of a connection that is to take its whole time; one that is to wait a moment alone has half a minute for it."""
MANY_SECONDS = 30.0
ELSEWHERE = ("a broker that answers", 9092)


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Of a server that is silent, while another of its cluster is not known to be."""
    monkeypatch.setattr(AIOKafkaConnection, "connect", suspects.connect)
    monkeypatch.setattr(AIOKafkaConnection, "send", suspects.send)
    monkeypatch.setattr(suspects, "_suspected_until", {})
    monkeypatch.setattr(suspects, "_answered_at", {ELSEWHERE: monotonic()})
    monkeypatch.setattr(suspects, "MOMENT_SECONDS", 0.1)
    monkeypatch.setattr(suspects, "VAIN_SECONDS", 0.3)
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def took(port: int, limit_seconds: float) -> float:
    """How long it takes to find out that nobody answers who connects."""
    began = monotonic()
    with pytest.raises(TimeoutError):
        await create_conn("127.0.0.1", port, request_timeout_ms=int(limit_seconds * 1000))
    return monotonic() - began


async def gets_its_time(port: int) -> bool:
    """Whether somebody who connects waits for as long as he would; afterwards the server is suspected."""
    return await took(port, LIMIT_SECONDS) >= LIMIT_SECONDS


async def gets_a_moment(port: int) -> bool:
    return await took(port, MANY_SECONDS) < MANY_SECONDS / 2


async def asked(port: int, request: object, limit_seconds: float) -> AIOKafkaConnection:
    """Ask by a connection that stands, and stop waiting; the connection."""
    connection = AIOKafkaConnection("127.0.0.1", port, request_timeout_ms=60_000)
    connection._do_version_lookup = lambda: asyncio.sleep(0)
    await connection.connect()
    connection._versions = dict.fromkeys(range(100), (0, 20))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(limit_seconds):
            await connection.send(request)
    return connection


async def test_the_first_waits_its_whole_time_and_the_next_a_moment(port: int) -> None:
    assert await gets_its_time(port)
    assert await gets_a_moment(port)


async def test_a_broker_is_suspected_for_a_while_alone_and_then_one_tries_it(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often others try meanwhile."""
    now = monotonic()
    monkeypatch.setattr(suspects, "monotonic", lambda: now)
    await gets_its_time(port)
    for _ in range(2):
        now += suspects.SUSPECTED_SECONDS / 3
        suspects._answered_at[ELSEWHERE] = now
        assert await gets_a_moment(port)
    now += suspects.SUSPECTED_SECONDS / 3
    suspects._answered_at[ELSEWHERE] = now
    trying = asyncio.create_task(gets_its_time(port))
    await asyncio.sleep(0.01)
    assert await gets_a_moment(port)
    assert await trying


async def test_where_nobody_else_has_answered_for_long_a_broker_gets_its_time(port: int) -> None:
    suspects._answered_at[ELSEWHERE] -= suspects.SUSPECTED_SECONDS
    suspects._answered_at["127.0.0.1", port] = monotonic()
    await gets_its_time(port)
    assert await gets_its_time(port)


async def test_who_stops_waiting_to_be_let_in_says_as_much(port: int) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await create_conn("127.0.0.1", port, request_timeout_ms=60_000)
    assert await gets_a_moment(port)


async def test_a_question_that_somebody_has_given_up_says_as_much(port: int) -> None:
    connection = await asked(port, MetadataRequest([]), 0.5)
    assert not connection.connected()
    assert await gets_a_moment(port)


async def test_a_question_that_was_given_up_at_once_says_nothing(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspects, "VAIN_SECONDS", MANY_SECONDS)
    connection = await asked(port, MetadataRequest([]), 0.01)
    assert connection.connected()
    connection.close()
    assert await gets_its_time(port)


@pytest.mark.parametrize(
    "request_", [EndTxnRequest("id", 1, 1, True), ProduceRequest(None, -1, 1000, [])], ids=["end", "produce"]
)
async def test_what_may_wait_for_another_broker_breaks_no_connection(port: int, request_: object) -> None:
    connection = await asked(port, request_, 0.5)
    assert connection.connected()
    connection.close()
    assert await gets_a_moment(port)


async def test_who_has_a_connection_to_a_suspect_waits_a_moment_too(port: int) -> None:
    connection = await asked(port, EndTxnRequest("id", 1, 1, True), 0.5)
    began = monotonic()
    with pytest.raises(TimeoutError):
        await connection.send(MetadataRequest([]))
    assert monotonic() - began < MANY_SECONDS
    assert not connection.connected()


async def test_a_broker_that_lets_somebody_in_is_suspected_no_more(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspects, "VAIN_SECONDS", MANY_SECONDS)
    await gets_its_time(port)
    with monkeypatch.context() as patched:
        patched.setattr(suspects, "MOMENT_SECONDS", MANY_SECONDS)
        (await asked(port, MetadataRequest([]), 0.01)).close()
    assert await gets_its_time(port)


async def test_another_broker_is_not_suspected(port: int) -> None:
    await gets_its_time(port)
    async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0) as other:
        assert await gets_its_time(other.sockets[0].getsockname()[1])


def test_every_log_of_a_process_has_it_so_and_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AIOKafkaConnection, "connect", suspects._connect)
    monkeypatch.setattr(AIOKafkaConnection, "send", suspects._send)
    for _ in range(2):
        tune()
    assert AIOKafkaConnection.connect is suspects.connect
    assert AIOKafkaConnection.send is suspects.send
    assert suspects.connect not in (suspects._connect, suspects._send)
