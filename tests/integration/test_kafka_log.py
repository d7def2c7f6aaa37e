"""The log on Kafka: what it shares with no other log."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from events.catalogue import Topic
from events.log.kafka import HistoryCutOff, KafkaLog, RecordTooLarge, StepTooLarge, Timing, TopicsUnfit
from events.log.kafka.connection import LARGEST_STEP_BYTES, LARGEST_SUBMITTED_BYTES
from events.log.kafka.records import POSITIONS_HEADER
from events.log.partitions import home_partition
from events.log.port import Fenced, Forward, LogUnavailable, NewRecord, Place, Positions, Step, StoredRecord
from servers.kafka import KafkaBroker

PARTITIONS = 4
EVENTS = Place(Topic.EVENTS, 0)
COMMANDS = Place(Topic.COMMANDS, 0)


@pytest.fixture
def prefix() -> str:
    return f"t{uuid4().hex[:12]}."


@pytest.fixture
async def log(kafka_broker: KafkaBroker, prefix: str) -> AsyncIterator[KafkaLog]:
    opened = await KafkaLog.open(kafka_broker.bootstrap, PARTITIONS, topic_prefix=prefix)
    yield opened
    await opened.close()


def record(text: str, **headers: bytes) -> NewRecord:
    return NewRecord("p", text.encode(), headers)


async def everything(log: KafkaLog, place: Place) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    while records := await log.read(place, found[-1].offset + 1 if found else 0):
        found += records
    return found


async def texts(log: KafkaLog, place: Place) -> list[str]:
    return [record.value.decode() for record in await everything(log, place)]


async def test_a_step_of_every_part_is_read_back(log: KafkaLog) -> None:
    writer = await log.take_over(0, "one")
    step = Step(
        [record("event 1", type=b"A"), record("event 2")],
        [record("rejected")],
        [Forward(Topic.COMMANDS, 1, record("forwarded"))],
        Positions(3, 4),
    )
    assert await writer.append(step) == 2
    assert await texts(log, EVENTS) == ["event 1", "event 2"]
    assert await texts(log, Place(Topic.REJECTIONS, 0)) == ["rejected"]
    assert await texts(log, Place(Topic.COMMANDS, 1)) == ["forwarded"]
    assert [r.headers for r in await everything(log, EVENTS)] == [{"type": b"A"}, {}]
    await writer.close()
