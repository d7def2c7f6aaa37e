"""Steps: whole, in order, with their positions; rejections and forwards with them."""

import pytest
from contract.ground import OpenLog, history, project_at, read_all, record, submit_to

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import EventLog, Forward, Place, Positions, Step


async def test_a_step_stands_in_the_history_whole_and_in_order(log: EventLog) -> None:
    writer = await log.take_over(1, "one")
    end = await writer.append(Step(events=[record("shop", f"{n}", type=b"t") for n in range(400)]))
    found = await read_all(log, Place(Topic.EVENTS, 1))
    assert [r.value.decode() for r in found] == [f"{n}" for n in range(400)]
    assert {(r.key, r.type_name) for r in found} == {("shop", "t")}
    assert end == found[-1].offset + 1


async def test_steps_follow_each_other_and_each_returns_the_end_behind_it(log: EventLog) -> None:
    writer = await log.take_over(0, "one")
    ends = [await writer.append(Step(events=[record("shop", f"{n}"), record("shop", "-")])) for n in range(10)]
    assert ends == sorted(set(ends))
    for number, end in enumerate(ends):
        values = [r.value.decode() for r in await read_all(log, Place(Topic.EVENTS, 0)) if r.offset < end]
        assert values == [v for n in range(number + 1) for v in (f"{n}", "-")]


async def test_an_empty_step_writes_nothing_and_returns_the_end(log: EventLog) -> None:
    writer = await log.take_over(0, "one")
    end = await writer.append(Step(events=[record("shop", "x")]))
    assert await writer.append(Step(positions=Positions(commands=9))) == end
    assert await history(log, 0) == ["x"]


async def test_rejections_stand_in_the_writers_own_partition_whatever_their_key(log: EventLog) -> None:
    writer = await log.take_over(2, "one")
    stranger = project_at(log, 3)
    await writer.append(Step(rejections=[record(stranger, b"\x00junk", reason=b"unreadable")]))
    [found] = await read_all(log, Place(Topic.REJECTIONS, 2))
    assert (found.key, found.value, dict(found.headers)) == (stranger, b"\x00junk", {"reason": b"unreadable"})
    assert await read_all(log, Place(Topic.REJECTIONS, 3)) == []


async def test_forwards_come_home_with_the_same_bytes(log: EventLog) -> None:
    writer = await log.take_over(0, "one")
    project = project_at(log, 3)
    strays = {
        topic: record(project, f"to {topic}".encode() + b"\xff\x00", type=b"t")
        for topic in (Topic.COMMANDS, Topic.RESULTS)
    }
    home = home_partition(project, log.partition_count)
    await writer.append(Step(forwards=[Forward(topic, home, stray) for topic, stray in strays.items()]))
    for topic, stray in strays.items():
        [found] = await read_all(log, Place(topic, 3))
        assert (found.key, found.value, dict(found.headers)) == (project, stray.value, dict(stray.headers))


async def test_a_step_of_everything_leaves_everything(log: EventLog) -> None:
    await submit_to(log, 1, 5)
    writer = await log.take_over(1, "one")
    await log.submit(Topic.COMMANDS, [record(project_at(log, 0), "before")])
    forwards = [Forward(Topic.COMMANDS, partition, record("p", f"{n}")) for partition in (3, 0) for n in range(3)]
    rejections = [record("q", f"{n}") for n in range(3)]
    events = [record("r", f"{n}") for n in range(3)]
    end = await writer.append(Step(events, rejections, forwards, Positions(4, 5)))
    assert await history(log, 1) == ["0", "1", "2"]
    assert end == (await log.ends(Topic.EVENTS))[1]
    for place, values in {
        Place(Topic.REJECTIONS, 1): ["0", "1", "2"],
        Place(Topic.COMMANDS, 3): ["0", "1", "2"],
        Place(Topic.COMMANDS, 0): ["before", "0", "1", "2"],
    }.items():
        assert [r.value.decode() for r in await read_all(log, place)] == values


@pytest.mark.parametrize("kind", ["events", "rejections"])
async def test_positions_come_back_at_taking_over(open_log: OpenLog, kind: str) -> None:
    log = await open_log()
    await submit_to(log, 0, 30)
    writer = await log.take_over(0, "one")
    assert writer.positions == Positions()
    for number in range(1, 4):
        step = {kind: [record("shop", f"{number}")]}
        await writer.append(Step(**step, positions=Positions(10 * number, number)))
    assert (await (await open_log()).take_over(0, "two")).positions == Positions(30, 3)


async def test_the_highest_positions_count_whichever_step_wrote_them(open_log: OpenLog) -> None:
    log = await open_log()
    await submit_to(log, 0, 4)
    for first, second in (("events", "rejections"), ("rejections", "events")):
        writer = await log.take_over(0, "one")
        at = writer.positions.commands
        await writer.append(Step(**{first: [record("shop", "a")]}, positions=Positions(at + 1, at)))
        await writer.append(Step(**{second: [record("shop", "b")]}, positions=Positions(at + 2, at + 1)))
        assert (await (await open_log()).take_over(0, "two")).positions == Positions(at + 2, at + 1)


async def test_positions_belong_to_their_partition_alone(log: EventLog) -> None:
    await submit_to(log, 0, 7)
    writer = await log.take_over(0, "one")
    await writer.append(Step(events=[record("shop", "a")], positions=Positions(7, 7)))
    assert (await log.take_over(1, "one")).positions == Positions()


async def test_taking_over_reads_where_the_history_ends(open_log: OpenLog) -> None:
    log, end = await open_log(), 0
    for number in range(4):
        writer = await log.take_over(2, f"{number}")
        assert writer.end == end
        end = await writer.append(Step(events=[record("shop", "a"), record("shop", "b")]))
    assert await history(log, 2) == ["a", "b"] * 4


async def test_a_history_is_read_on_from_any_offset_without_what_lies_before_it(log: EventLog) -> None:
    """Whoever takes over with a snapshot folds on from where that stands."""
    writer = await log.take_over(0, "one")
    offset = await writer.append(Step(events=[record("shop", f"{n}") for n in range(5)]))
    await writer.append(Step(events=[record("shop", f"{n}") for n in range(5, 9)]))
    writer = await log.take_over(0, "two")
    assert await history(log, 0, offset) == ["5", "6", "7", "8"]
    assert (await read_all(log, Place(Topic.EVENTS, 0), offset))[-1].offset < writer.end
