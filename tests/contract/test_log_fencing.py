"""Fencing: of all who believe that they own a partition, the last to take over alone writes."""

import asyncio

import pytest
from contract.ground import OpenLog, history, read_all, record, submit_to

from events.catalogue import Topic
from events.log.port import EventLog, Fenced, Forward, LogUnavailable, PartitionWriter, Place, Positions, Step

STEPS = {
    "events": Step(events=[record("shop", "zombie")], positions=Positions(99, 99)),
    "rejections": Step(rejections=[record("shop", "zombie")], positions=Positions(99, 99)),
    "forwards": Step(forwards=[Forward(Topic.COMMANDS, 1, record("shop", "zombie"))]),
    "everything": Step(
        [record("shop", "zombie")],
        [record("shop", "zombie")],
        [Forward(Topic.RESULTS, 0, record("shop", "zombie"))],
        Positions(99, 99),
    ),
}


@pytest.mark.parametrize("kind", STEPS)
async def test_a_zombie_is_fenced_and_writes_nothing(open_log: OpenLog, kind: str) -> None:
    one, two = await open_log(), await open_log()
    await submit_to(one, 0, 2)
    zombie = await one.take_over(0, "one")
    await zombie.append(Step(events=[record("shop", "a")], positions=Positions(1, 1)))
    owner = await two.take_over(0, "two")
    with pytest.raises(Fenced):
        await zombie.append(STEPS[kind])
    await owner.append(Step(events=[record("shop", "b")], positions=Positions(2, 2)))
    assert await history(two, 0) == ["a", "b"]
    for topic in (Topic.REJECTIONS, Topic.COMMANDS, Topic.RESULTS):
        for partition in range(two.partition_count):
            values = [found.value for found in await read_all(two, Place(topic, partition))]
            assert b"zombie" not in values
    assert (await one.take_over(0, "three")).positions == Positions(2, 2)


async def test_a_zombie_is_fenced_before_the_new_owner_has_written(open_log: OpenLog) -> None:
    one, two = await open_log(), await open_log()
    zombie = await one.take_over(0, "one")
    owner = await two.take_over(0, "two")
    with pytest.raises(Fenced):
        await zombie.append(STEPS["events"])
    assert (await two.ends(Topic.EVENTS))[0] == owner.end == 0


async def test_who_was_fenced_writes_again_after_taking_over_again(open_log: OpenLog) -> None:
    one, two = await open_log(), await open_log()
    first = await one.take_over(0, "one")
    await two.take_over(0, "two")
    with pytest.raises(Fenced):
        await first.append(STEPS["events"])
    again = await one.take_over(0, "one")
    await again.append(Step(events=[record("shop", "a")]))
    assert await history(one, 0) == ["a"]


async def test_a_fenced_writer_stays_out_for_good(open_log: OpenLog) -> None:
    one, two = await open_log(), await open_log()
    zombie = await one.take_over(0, "one")
    await two.take_over(0, "two")
    for _ in range(3):
        with pytest.raises((Fenced, LogUnavailable)):
            await zombie.append(STEPS["everything"])
    assert (await two.ends(Topic.EVENTS))[0] == 0


async def test_fencing_one_partition_leaves_the_others_alone(open_log: OpenLog) -> None:
    one, two = await open_log(), await open_log()
    writers = {partition: await one.take_over(partition, "one") for partition in (0, 1)}
    await two.take_over(0, "two")
    await writers[1].append(Step(events=[record("shop", "mine")]))
    assert await history(two, 1) == ["mine"]


async def test_when_many_take_over_at_once_their_acknowledged_steps_are_the_history(open_log: OpenLog) -> None:
    logs = [await open_log() for _ in range(4)]

    async def contend(log: EventLog, name: str) -> list[str]:
        acknowledged = []
        for attempt in range(4):
            try:
                writer: PartitionWriter = await log.take_over(0, name)
                for number in range(5):
                    value = f"{name}.{attempt}.{number}"
                    await writer.append(Step(events=[record("shop", value), record("shop", value)]))
                    acknowledged.append(value)
            except (Fenced, LogUnavailable):
                continue
        return acknowledged

    acknowledged = await asyncio.gather(*(contend(log, f"{n}") for n, log in enumerate(logs)))
    values = await history(logs[0], 0)
    assert values[::2] == values[1::2]
    assert len(set(values)) * 2 == len(values)
    assert {value for values in acknowledged for value in values} <= set(values)


async def test_a_partition_that_was_let_go_of_is_taken_over_at_once(open_log: OpenLog) -> None:
    one, two = await open_log(), await open_log()
    await submit_to(one, 0, 4)
    writer = await one.take_over(0, "one")
    await writer.append(Step(events=[record("shop", "a")], positions=Positions(3, 4)))
    await writer.close()
    heir = await two.take_over(0, "two")
    assert heir.positions == Positions(3, 4)
    await heir.append(Step(events=[record("shop", "b")]))
    assert await history(two, 0) == ["a", "b"]


async def test_a_writer_that_shows_that_it_lives_goes_on_writing(log: EventLog) -> None:
    writer = await log.take_over(0, "one")
    for number in range(3):
        await writer.renew()
        await writer.append(Step(events=[record("shop", f"{number}")]))
    assert await history(log, 0) == ["0", "1", "2"]
