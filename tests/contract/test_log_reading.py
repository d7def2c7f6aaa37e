"""Reading ranges, ends, and what is left after deleting."""

import asyncio

from contract.ground import project_at, read_all, record
from contract.waiting import until

from events.catalogue import Topic
from events.log.port import EventLog, Place, Positions, Step

QUICKLY_SECONDS = 20.0


async def test_a_range_is_read_from_its_start_to_before_its_end(log: EventLog) -> None:
    writer, place = await log.take_over(0, "one"), Place(Topic.EVENTS, 0)
    for number in range(10):
        await writer.append(Step(events=[record("shop", f"{number}")]))
    offsets = [r.offset for r in await read_all(log, place)]
    found = [r.offset for r in await log.read(place, offsets[3], offsets[7])]
    assert found
    assert found == offsets[3 : 3 + len(found)]
    assert max(found) < offsets[7]
    assert [r.offset for r in await read_all(log, place, offsets[4])] == offsets[4:]


async def test_nothing_is_read_from_the_end_on_and_nobody_waits_for_it(log: EventLog) -> None:
    place = Place(Topic.COMMANDS, 0)
    async with asyncio.timeout(QUICKLY_SECONDS):
        assert list(await log.read(place, 0)) == []
        await log.submit(Topic.COMMANDS, [record(project_at(log, 0), "one")])
        end = (await log.ends(Topic.COMMANDS))[0]
        assert list(await log.read(place, end)) == []
        assert list(await log.read(place, 0, 0)) == []


async def test_many_records_are_read_page_by_page_each_once(log: EventLog) -> None:
    writer = await log.take_over(1, "one")
    for start in range(0, 3000, 500):
        await writer.append(Step(events=[record("shop", f"{n}") for n in range(start, start + 500)]))
    values = [r.value.decode() for r in await read_all(log, Place(Topic.EVENTS, 1))]
    assert values == [f"{n}" for n in range(3000)]


async def test_large_records_are_read_page_by_page_each_once(log: EventLog) -> None:
    project, filling = project_at(log, 0), "x" * 900_000
    for number in range(12):
        await log.submit(Topic.RESULTS, [record(project, f"{number} {filling}")])
    values = [r.value.decode().partition(" ")[0] for r in await read_all(log, Place(Topic.RESULTS, 0))]
    assert values == [f"{n}" for n in range(12)]


async def test_every_partition_has_an_end(log: EventLog) -> None:
    for topic in Topic:
        assert await log.ends(topic) == dict.fromkeys(range(log.partition_count), 0)
    [(place, offset)] = await log.submit(Topic.COMMANDS, [record("shop", "x")])
    ends = await log.ends(Topic.COMMANDS)
    assert ends[place.partition] > offset
    assert {end for partition, end in ends.items() if partition != place.partition} == {0}


async def test_what_was_deleted_is_gone_and_the_rest_is_read_without_waiting(log: EventLog) -> None:
    project = project_at(log, 0)
    offsets = {
        topic: [(await log.submit(topic, [record(project, f"{n}")]))[0][1] for n in range(6)]
        for topic in (Topic.COMMANDS, Topic.RESULTS)
    }
    passed = Positions(offsets[Topic.COMMANDS][4], offsets[Topic.RESULTS][2])
    writer = await log.take_over(0, "one")
    await writer.append(Step(events=[record(project, "passed")], positions=passed))
    await writer.delete_before(passed)
    for topic, left in ((Topic.COMMANDS, ["4", "5"]), (Topic.RESULTS, ["2", "3", "4", "5"])):

        async def only_the_rest(topic: Topic = topic, left: list[str] = left) -> bool:
            async with asyncio.timeout(QUICKLY_SECONDS):
                found = await log.read(Place(topic, 0), 0)
            return [r.value.decode() for r in found] == left

        await until(only_the_rest, f"{left} alone in {topic}")
    assert len(await read_all(log, Place(Topic.EVENTS, 0))) == 1


async def test_offsets_go_on_behind_what_was_deleted(log: EventLog) -> None:
    project, place = project_at(log, 0), Place(Topic.COMMANDS, 0)
    [(_, last)] = await log.submit(Topic.COMMANDS, [record(project, "old")])
    writer = await log.take_over(0, "one")
    await writer.append(Step(events=[record(project, "passed")], positions=Positions(commands=last + 1)))
    await writer.delete_before(Positions(commands=last + 1))
    [(_, offset)] = await log.submit(Topic.COMMANDS, [record(project, "new")])
    assert offset > last
    found = await log.read(place, last + 1)
    assert [(r.offset, r.value) for r in found] == [(offset, b"new")]


async def test_a_log_that_can_be_used_says_so(log: EventLog) -> None:
    await log.check()
