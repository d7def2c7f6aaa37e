"""Steps, submissions and reads of several partitions in one statement: each stays what it would be alone."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import Fenced, LogUnavailable, NewRecord, PartitionWriter, Place, Positions, Step
from events.log.postgres import PostgresLog

PARTITIONS = 4
PROJECTS = {home_partition(name, PARTITIONS): name for name in "abcdefgh"}


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[PostgresLog]:
    opened = await PostgresLog.open(database_url, PARTITIONS)
    yield opened
    await opened.close()


async def _writers(log: PostgresLog) -> list[PartitionWriter]:
    return [await log.take_over(partition, "one") for partition in range(PARTITIONS)]


def _step(partition: int, *values: str, read: int = 0) -> Step:
    records = [NewRecord(PROJECTS[partition], value.encode(), {"type": b"t"}) for value in values]
    return Step(records, positions=Positions(commands=read))


async def _values(log: PostgresLog, partition: int) -> list[str]:
    return [record.value.decode() for record in await log.read(Place(Topic.EVENTS, partition), 0)]


async def _transactions(url: str, topic: Topic) -> int:
    connection = await asyncpg.connect(url)
    try:
        said = "SELECT count(DISTINCT xmin::text) FROM autopack_log.records WHERE topic = $1"
        return int(await connection.fetchval(said, topic.value))
    finally:
        await connection.close()


async def test_steps_of_several_partitions_are_one_transaction_and_each_has_its_own_offsets(
    log: PostgresLog, database_url: str
) -> None:
    writers = await _writers(log)
    steps = [_step(partition, *(f"{partition}.{n}" for n in range(partition + 1))) for partition in range(4)]
    ends = await asyncio.gather(*(w.append(step) for w, step in zip(writers, steps, strict=True)))
    assert ends == [1, 2, 3, 4]
    assert await _transactions(database_url, Topic.EVENTS) == 1
    for partition in range(4):
        assert await _values(log, partition) == [f"{partition}.{n}" for n in range(partition + 1)]


async def test_a_writer_that_was_replaced_is_left_out_and_the_others_are_written(log: PostgresLog) -> None:
    writers = await _writers(log)
    await log.take_over(2, "another")
    appending = (writer.append(_step(partition, "step")) for partition, writer in enumerate(writers))
    found = await asyncio.gather(*appending, return_exceptions=True)
    assert [one for one in found if isinstance(one, int)] == [1, 1, 1]
    assert isinstance(found[2], Fenced)
    assert [await _values(log, partition) for partition in range(4)] == [["step"], ["step"], [], ["step"]]


async def test_a_step_that_has_read_what_is_not_there_is_left_out_and_the_others_are_written(
    log: PostgresLog,
) -> None:
    writers = await _writers(log)
    await log.submit(Topic.COMMANDS, [NewRecord(PROJECTS[1], b"read")])
    appending = (writer.append(_step(p, "step", read=int(p in (1, 3)))) for p, writer in enumerate(writers))
    found = await asyncio.gather(*appending, return_exceptions=True)
    assert [one for one in found if isinstance(one, int)] == [1, 1, 1]
    with pytest.raises(LogUnavailable, match="claims to have read what is not in the log"):
        raise found[3]  # type: ignore[misc]
    assert [await _values(log, partition) for partition in range(4)] == [["step"], ["step"], ["step"], []]


async def test_of_two_writers_of_one_partition_only_the_newer_writes(log: PostgresLog) -> None:
    older, newer = await log.take_over(0, "one"), await log.take_over(0, "two")
    other = await log.take_over(1, "one")
    appending = (older.append(_step(0, "zombie")), newer.append(_step(0, "ours")), other.append(_step(1, "step")))
    found = await asyncio.gather(*appending, return_exceptions=True)
    assert isinstance(found[0], Fenced)
    assert found[1:] == [1, 1]
    assert [await _values(log, 0), await _values(log, 1)] == [["ours"], ["step"]]


async def test_submissions_to_several_partitions_are_one_transaction_and_keep_their_order(
    log: PostgresLog, database_url: str
) -> None:
    records = [[NewRecord(PROJECTS[(n + k) % 4], f"{n}.{k}".encode()) for k in range(3)] for n in range(8)]
    written = await asyncio.gather(*(log.submit(Topic.RESULTS, own) for own in records))
    assert await _transactions(database_url, Topic.RESULTS) == 1
    for partition in range(4):
        found = await log.read(Place(Topic.RESULTS, partition), 0)
        own = [f"{n}.{k}".encode() for n in range(8) for k in range(3) if (n + k) % 4 == partition]
        assert [record.value for record in found] == own
        told = [place_and_offset for of in written for place_and_offset in of]
        assert sorted(o for place, o in told if place.partition == partition) == [*range(len(own))]
        by_offset = {record.offset: record.value for record in found}
        for own_records, of in zip(records, written, strict=True):
            for record, (place, offset) in zip(own_records, of, strict=True):
                assert place.partition != partition or by_offset[offset] == record.value


async def test_tails_that_look_at_the_same_time_get_their_own_places_and_all_of_them(log: PostgresLog) -> None:
    values = {partition: [f"{partition}.{n}".encode() for n in range(700)] for partition in range(4)}
    for partition, own in values.items():
        await log.submit(Topic.RESULTS, [NewRecord(PROJECTS[partition], value) for value in own])

    async def followed(partition: int, start: int) -> list[bytes]:
        tail, found = log.tail(), []
        tail.follow(Place(Topic.RESULTS, partition), start)
        while len(found) < 700 - start:
            for place, records in (await tail.batches(5.0)).items():
                assert place.partition == partition
                found += [record.value for record in records]
        await tail.close()
        return found

    wanted = [(partition, start) for partition in range(4) for start in (0, 650)]
    found = await asyncio.gather(*(followed(partition, start) for partition, start in wanted))
    assert found == [values[partition][start:] for partition, start in wanted]
