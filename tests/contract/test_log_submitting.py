"""Submitting: everything reaches its project's home, in order, and comes back as it was."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from contract.ground import Ground, project_at, read_all, record

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import EventLog, Place

SUBMITTED = (Topic.COMMANDS, Topic.RESULTS, Topic.OUTPUT)
MOMENTS = timedelta(minutes=2)


@pytest.mark.parametrize("topic", SUBMITTED)
async def test_a_submitted_record_is_found_at_the_place_and_offset_that_were_returned(
    log: EventLog, topic: Topic
) -> None:
    [(place, offset)] = await log.submit(topic, [record("shop", "hello")])
    assert place == Place(topic, home_partition("shop", log.partition_count))
    [found] = await log.read(place, offset, offset + 1)
    assert (found.topic, found.partition, found.offset) == (topic, place.partition, offset)
    assert (found.key, found.value) == ("shop", b"hello")


async def test_records_of_a_project_keep_their_order(log: EventLog) -> None:
    for number in range(20):
        await log.submit(Topic.COMMANDS, [record("shop", f"{number}.{part}") for part in range(3)])
    found = await read_all(log, Place(Topic.COMMANDS, home_partition("shop", log.partition_count)))
    assert [r.value.decode() for r in found] == [f"{n}.{part}" for n in range(20) for part in range(3)]
    assert [r.offset for r in found] == sorted({r.offset for r in found})


async def test_records_of_several_projects_submitted_at_once_each_come_home(log: EventLog) -> None:
    projects = [f"project-{number % 7}" for number in range(50)]
    written = await log.submit(Topic.RESULTS, [record(p, f"{n}") for n, p in enumerate(projects)])
    assert len(written) == 50
    for number, (project, (place, offset)) in enumerate(zip(projects, written, strict=True)):
        assert place.partition == home_partition(project, log.partition_count)
        [found] = await log.read(place, offset, offset + 1)
        assert (found.key, found.value) == (project, str(number).encode())


async def test_concurrent_submitters_lose_and_double_nothing(log: EventLog) -> None:
    async def submit(who: int) -> None:
        for number in range(15):
            await log.submit(Topic.COMMANDS, [record("shop", f"{who}:{number}")])

    await asyncio.gather(*(submit(who) for who in range(6)))
    found = await read_all(log, Place(Topic.COMMANDS, home_partition("shop", log.partition_count)))
    values = [r.value.decode() for r in found]
    for who in range(6):
        assert [v for v in values if v.startswith(f"{who}:")] == [f"{who}:{number}" for number in range(15)]
    assert len(values) == 90


async def test_headers_and_values_of_any_bytes_come_back_as_they_were(log: EventLog) -> None:
    every_byte = bytes(range(256))
    headers = {"type": b"autopack.RunRequested.v1", "every": every_byte, "none": b"", "naïve": b"\x00"}
    [(place, offset)] = await log.submit(Topic.COMMANDS, [record("shöp ☃", every_byte, **headers)])
    [found] = await log.read(place, offset, offset + 1)
    assert (found.key, found.value, dict(found.headers)) == ("shöp ☃", every_byte, headers)
    assert found.type_name == "autopack.RunRequested.v1"


async def test_a_record_of_one_megabyte_comes_back_whole(log: EventLog) -> None:
    value = bytes(range(256)) * 4096
    written = await log.submit(Topic.COMMANDS, [record("shop", value)])
    for place, offset in written:
        [found] = await log.read(place, offset, offset + 1)
        assert found.value == value


async def test_a_foreign_record_without_a_key_is_read_with_none(ground: Ground, log: EventLog) -> None:
    place = Place(Topic.COMMANDS, 1)
    await ground.write_foreign(place, None, b"whose?", {"origin": b"elsewhere"})
    [found] = await read_all(log, place)
    assert (found.key, found.value, dict(found.headers)) == (None, b"whose?", {"origin": b"elsewhere"})
    assert found.type_name is None


async def test_a_foreign_key_that_is_no_text_is_read_with_what_cannot_be_decoded_replaced(
    ground: Ground, log: EventLog
) -> None:
    place = Place(Topic.COMMANDS, 0)
    await ground.write_foreign(place, b"a\xffb", b"value", {})
    [found] = await read_all(log, place)
    assert found.key == "a\ufffdb"


async def test_records_bear_the_logs_own_time_which_never_goes_back(log: EventLog) -> None:
    project = project_at(log, 2)
    for number in range(10):
        await log.submit(Topic.COMMANDS, [record(project, f"{number}")])
    times = [r.recorded_at for r in await read_all(log, Place(Topic.COMMANDS, 2))]
    assert times == sorted(times)
    assert all(moment.utcoffset() == timedelta(0) for moment in times)
    assert abs(datetime.now(UTC) - times[-1]) < MOMENTS


@pytest.mark.parametrize("topic", [Topic.EVENTS, Topic.REJECTIONS])
async def test_nobody_submits_to_what_the_supervisor_alone_writes(log: EventLog, topic: Topic) -> None:
    with pytest.raises(Exception, match="Nobody submits to this topic"):
        await log.submit(topic, [record("shop", "I say so")])
    assert set((await log.ends(topic)).values()) == {0}
