"""What any broker can answer is asked of another one where the first does not."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, NotControllerError
from aiokafka.protocol.metadata import MetadataRequest

from events.log.kafka import admin
from events.log.kafka.admin import Admin

BROKERS = (1, 2, 3)


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """By broker what it does when it is asked: an answer, an error, or an event that it waits for."""
    does: dict[int, Any] = {}

    async def send(_: Admin, __: object, node_id: int | None = None) -> Any:
        found = does[node_id] if node_id is not None else None
        if isinstance(found, asyncio.Event):
            await found.wait()
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(AIOKafkaAdminClient, "_send_request", send)
    monkeypatch.setattr(admin, "PATIENCE_SECONDS", 0.01)
    return does


def client(*brokers: int) -> Any:
    made = Admin.__new__(Admin)
    made._client = SimpleNamespace(
        cluster=SimpleNamespace(brokers=lambda: [SimpleNamespace(nodeId=b) for b in brokers])
    )
    return made


@pytest.mark.parametrize("gone", [NodeNotReadyError(), KafkaConnectionError(), asyncio.Event()])
async def test_a_broker_that_is_gone_or_silent_is_passed_over(asked: dict[int, Any], gone: object) -> None:
    asked |= {1: gone, 2: "answer", 3: "answer"}
    async with asyncio.timeout(60):
        for _ in range(20):  # whoever is asked first is chosen by chance
            assert await client(*BROKERS)._send_request(MetadataRequest([])) == "answer"


async def test_the_only_broker_that_is_left_is_found(asked: dict[int, Any]) -> None:
    asked |= {1: NodeNotReadyError(), 2: KafkaConnectionError(), 3: "answer"}
    for _ in range(20):
        assert await client(*BROKERS)._send_request(MetadataRequest([])) == "answer"


async def test_that_nobody_answers_is_said_as_the_last_broker_said_it(asked: dict[int, Any]) -> None:
    asked |= dict.fromkeys(BROKERS, NodeNotReadyError("none of us"))
    with pytest.raises(NodeNotReadyError, match="none of us"):
        await client(*BROKERS)._send_request(MetadataRequest([]))


async def test_a_refusal_is_an_answer_and_asked_of_nobody_else(asked: dict[int, Any]) -> None:
    asked |= dict.fromkeys(BROKERS, NotControllerError())
    with pytest.raises(NotControllerError):
        await client(*BROKERS)._send_request(MetadataRequest([]))


async def test_what_one_broker_alone_can_answer_is_asked_of_no_other(asked: dict[int, Any]) -> None:
    asked |= {1: NodeNotReadyError(), 2: "answer", 3: "answer"}
    with pytest.raises(NodeNotReadyError):
        await client(*BROKERS)._send_request(MetadataRequest([]), 1)
