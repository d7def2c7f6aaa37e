"""What tests of the log on Kafka share."""

import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBase
from aiokafka.record.util import calc_crc32c

from events.catalogue import Topic
from events.log.kafka import KafkaLog, Timing
from events.log.port import Forward, NewRecord, Place, Positions, Step, StoredRecord

PARTITIONS = 4
EVENTS = Place(Topic.EVENTS, 0)
REJECTIONS = Place(Topic.REJECTIONS, 0)
COMMANDS = Place(Topic.COMMANDS, 0)


def fresh_prefix() -> str:
    """A prefix for topics that nobody else has."""
    return f"t{uuid4().hex[:12]}."


@asynccontextmanager
async def opened_log(bootstrap: str, prefix: str, timing: Timing | None = None) -> AsyncIterator[KafkaLog]:
    """A log, closed in the end."""
    log = await KafkaLog.open(bootstrap, PARTITIONS, topic_prefix=prefix, timing=timing)
    try:
        yield log
    finally:
        await log.close()


def record(text: str, **headers: bytes) -> NewRecord:
    """A record of project p."""
    return NewRecord("p", text.encode(), headers)


FORWARDED = Place(Topic.COMMANDS, 1)
FIRST = Step([record("first")], positions=Positions(1, 0))
SECOND = Step(
    [record(f"second {number}") for number in range(3)],
    [record("rejected")],
    [Forward(FORWARDED.topic, FORWARDED.partition, record("forwarded"))],
    Positions(2, 0),
)
"""A step that writes to every topic that one can write to, behind the first."""

WHOLE = [event.value.decode() for event in SECOND.events]
"""What the history says of it, if it says anything."""


async def everything(log: KafkaLog, place: Place, start: int = 0) -> list[StoredRecord]:
    """All records of a place."""
    found: list[StoredRecord] = []
    while records := await log.read(place, found[-1].offset + 1 if found else start):
        found += records
    return found


async def texts(log: KafkaLog, place: Place, start: int = 0) -> list[str]:
    """What the records of a place say."""
    return [found.value.decode() for found in await everything(log, place, start)]


async def write_with_name(
    producer: AIOKafkaProducer, topic: str, values: Sequence[bytes], name: bytes, partition: int = 0
) -> None:
    """Write records that each have a header of this name, which no client would write."""
    stand_in = b"~" * len(name)
    builder = producer.create_batch()
    for value in values:
        builder.append(timestamp=None, key=b"p", value=value, headers=[(stand_in.decode(), b"1")])
    build = builder._build

    def with_name() -> bytearray:
        batch = bytearray(build().replace(stand_in, name))
        checksum = calc_crc32c(bytes(batch[DefaultRecordBase.ATTRIBUTES_OFFSET :]))
        struct.pack_into(">I", batch, DefaultRecordBase.CRC_OFFSET, checksum)
        return batch

    builder._build = with_name
    await (await producer.send_batch(builder, topic, partition=0))
