"""The reader of a log on Kafka: plain consumers, one of committed records and one that knows the real ends."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord, TopicPartition

from faults.invariants.evidence import COMMANDS, HISTORY, REJECTIONS, RESULTS, TOPICS, Log, Place, Record
from faults.invariants.records import record

READING_SECONDS = 120.0
SETTLING_SECONDS = 5.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Beside the records of the step's last batch: "COMMANDS RESULTS", the offsets behind what the step has read.
_POSITIONS = "autopack-positions"


async def read(bootstrap: str, prefix: str) -> Log:
    """All committed records. What lies behind an open transaction is out of reach, and said to be so."""
    committed, all_of_it = (_consumer(bootstrap, level) for level in ("read_committed", "read_uncommitted"))
    async with committed, all_of_it:
        places = await _places(bootstrap, prefix)
        unsettled = await _unsettled(committed, all_of_it, places, prefix)
        found = await _all(committed, places)
    records = sorted((_record(one, prefix) for one in found), key=lambda r: (r.topic, r.partition, r.offset))
    return Log(records, _passed(records), unsettled=unsettled)


def _consumer(bootstrap: str, level: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        isolation_level=level,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=8 * 1024 * 1024,
        request_timeout_ms=30_000,
    )


async def _places(bootstrap: str, prefix: str) -> list[TopicPartition]:
    """Every partition that the broker has of the topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        found = await admin.describe_topics([f"{prefix}{topic}" for topic in TOPICS])
    finally:
        await admin.close()
    places = [TopicPartition(t["topic"], p["partition"]) for t in found for p in t["partitions"]]
    missing = {f"{prefix}{topic}" for topic in TOPICS} - {place.topic for place in places}
    assert not missing, f"the broker has no topics {sorted(missing)}"
    return sorted(places)


async def _unsettled(
    committed: AIOKafkaConsumer, all_of_it: AIOKafkaConsumer, places: Sequence[TopicPartition], prefix: str
) -> list[str]:
    """Where committed records end before all records do, and go on doing so: nobody reads behind that.

    A broker marks a settled transaction a moment after it has said that it is settled.
    """
    limit = asyncio.get_running_loop().time() + SETTLING_SECONDS
    while True:
        stable, real = await committed.end_offsets(places), await all_of_it.end_offsets(places)
        behind = [place for place in places if stable[place] < real[place]]
        if not behind or asyncio.get_running_loop().time() > limit:
            break
        await asyncio.sleep(0.05)
    return [
        f"{p.topic.removeprefix(prefix)}/{p.partition} from offset {stable[p]} up to {real[p]}" for p in behind
    ]


async def _all(consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]) -> list[ConsumerRecord]:
    """Every record from the first that is left to the end as it is now.

    What has been passed may be let go of while it is read; nothing else may.
    """
    positions, ends = dict(await consumer.beginning_offsets(places)), await consumer.end_offsets(places)
    _go_on(consumer, positions)
    found: list[ConsumerRecord] = []
    async with asyncio.timeout(READING_SECONDS):
        while await _reading(consumer, places, ends):
            try:
                fetched = await consumer.getmany(timeout_ms=200)
            except OffsetOutOfRangeError as error:
                gone = list(error.args[0])
                if any(not place.topic.endswith((COMMANDS, RESULTS)) for place in gone):
                    raise
                positions |= await consumer.beginning_offsets(gone)
                _go_on(consumer, positions)  # everywhere: what came together with the error is fetched again
                continue
            for place, batch in fetched.items():
                found += batch
                positions[place] = batch[-1].offset + 1
    return [one for one in found if one.offset < ends[TopicPartition(one.topic, one.partition)]]


def _go_on(consumer: AIOKafkaConsumer, positions: Mapping[TopicPartition, int]) -> None:
    consumer.assign(list(positions))
    for place, offset in positions.items():
        consumer.seek(place, offset)


async def _reading(consumer: AIOKafkaConsumer, places: Iterable[TopicPartition], ends: dict) -> bool:
    for place in places:
        if await consumer.position(place) < ends[place]:
            return True
    return False


def _record(found: ConsumerRecord, prefix: str) -> Record:
    headers = {name: value or b"" for name, value in found.headers}
    at = _EPOCH + timedelta(milliseconds=found.timestamp)
    topic = found.topic.removeprefix(prefix)
    return record(topic, found.partition, found.offset, found.key, found.value, headers, at)


def _passed(records: Iterable[Record]) -> dict[Place, int]:
    """Up to where the supervisor has read: the furthest that a step says, in the history or in the rejections."""
    passed: dict[Place, int] = {}
    for one in records:
        if one.topic in (HISTORY, REJECTIONS) and _POSITIONS in one.headers:
            for topic, offset in zip((COMMANDS, RESULTS), one.headers[_POSITIONS].split(), strict=True):
                place = (topic, one.partition)
                passed[place] = max(passed.get(place, 0), int(offset))
    return passed
