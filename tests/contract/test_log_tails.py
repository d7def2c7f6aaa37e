"""Tails: what is committed, in its order, from where one asked, as soon as it is there."""

import asyncio

import pytest
from contract.ground import Ground, OpenLog, project_at, record
from contract.waiting import collect, texts, until

from events.catalogue import Topic
from events.log.port import EventLog, HistoryCutOff, Missing, Place, Step


async def test_a_tail_delivers_what_was_there_and_what_comes_in_order(open_log: OpenLog) -> None:
    log, other = await open_log(), await open_log()
    project, place = project_at(log, 1), Place(Topic.RESULTS, 1)
    await log.submit(Topic.RESULTS, [record(project, f"{n}") for n in range(5)])
    tail = other.tail()
    tail.follow(place, 0)
    assert texts((await collect(tail, 5))[place]) == ["0", "1", "2", "3", "4"]
    for number in range(5, 15):
        await log.submit(Topic.RESULTS, [record(project, f"{number}")])
    assert texts((await collect(tail, 10))[place]) == [f"{n}" for n in range(5, 15)]
    await tail.close()


async def test_a_waiting_tail_is_woken_by_a_record_from_elsewhere(open_log: OpenLog) -> None:
    log, other = await open_log(), await open_log()
    place = Place(Topic.COMMANDS, 0)
    tail = log.tail()
    tail.follow(place, 0)
    await tail.batches(0)
    waiting = asyncio.create_task(collect(tail, 1))
    await other.submit(Topic.COMMANDS, [record(project_at(log, 0), "wake up")])
    assert texts((await waiting)[place]) == ["wake up"]
    await tail.close()


async def test_a_tail_that_waits_in_vain_returns_nothing(log: EventLog) -> None:
    tail = log.tail()
    assert not await tail.batches(0.05)
    tail.follow(Place(Topic.EVENTS, 0), 0)
    async with asyncio.timeout(20):
        assert not await tail.batches(0.3)
    await tail.close()


async def test_a_place_that_is_added_while_the_tail_waits_is_read(log: EventLog) -> None:
    tail, place = log.tail(), Place(Topic.COMMANDS, 2)
    await log.submit(Topic.COMMANDS, [record(project_at(log, 2), "here")])
    tail.follow(Place(Topic.COMMANDS, 0), 0)
    waiting = asyncio.create_task(collect(tail, 1))
    await asyncio.sleep(0)
    tail.follow(place, 0)
    assert texts((await waiting)[place]) == ["here"]
    await tail.close()


async def test_a_tail_follows_many_places_each_from_its_own_offset(log: EventLog) -> None:
    tail, offsets = log.tail(), {}
    for partition in range(log.partition_count):
        project = project_at(log, partition)
        written = [await log.submit(Topic.OUTPUT, [record(project, f"{n}")]) for n in range(4)]
        [(place, offset)] = written[partition % 3]
        offsets[place] = partition % 3
        tail.follow(place, offset)
    expected = {place: [f"{n}" for n in range(start, 4)] for place, start in offsets.items()}
    found = await collect(tail, sum(map(len, expected.values())))
    assert {place: texts(records) for place, records in found.items()} == expected
    await tail.close()


async def test_a_place_that_was_left_brings_nothing_more(log: EventLog) -> None:
    tail, left, kept = log.tail(), Place(Topic.COMMANDS, 0), Place(Topic.COMMANDS, 1)
    tail.follow(left, 0)
    tail.follow(kept, 0)
    await log.submit(Topic.COMMANDS, [record(project_at(log, 0), "a"), record(project_at(log, 1), "b")])
    await collect(tail, 2)
    tail.unfollow(left)
    for number in range(3):
        await log.submit(Topic.COMMANDS, [record(project_at(log, p), f"{number}") for p in (0, 1)])
    found = await collect(tail, 3)
    assert {place: texts(records) for place, records in found.items()} == {kept: ["0", "1", "2"]}
    await tail.close()


async def test_a_tail_that_is_moved_back_reads_again_and_moved_on_skips(log: EventLog) -> None:
    tail, place, project = log.tail(), Place(Topic.COMMANDS, 0), project_at(log, 0)
    offsets = [(await log.submit(Topic.COMMANDS, [record(project, f"{n}")]))[0][1] for n in range(6)]
    tail.follow(place, offsets[1])
    assert texts((await collect(tail, 5))[place]) == ["1", "2", "3", "4", "5"]
    tail.follow(place, offsets[0])
    assert texts((await collect(tail, 6))[place]) == ["0", "1", "2", "3", "4", "5"]
    tail.follow(place, offsets[4])
    assert texts((await collect(tail, 2))[place]) == ["4", "5"]
    await tail.close()


async def test_a_tail_delivers_a_large_backlog_each_record_once(log: EventLog) -> None:
    writer, tail, place = await log.take_over(0, "one"), log.tail(), Place(Topic.EVENTS, 0)
    for start in range(0, 2500, 500):
        await writer.append(Step(events=[record("shop", f"{n}") for n in range(start, start + 500)]))
    tail.follow(place, 0)
    assert texts((await collect(tail, 2500))[place]) == [f"{n}" for n in range(2500)]
    await tail.close()


async def test_a_busy_place_does_not_starve_another(log: EventLog) -> None:
    tail, busy, quiet = log.tail(), Place(Topic.RESULTS, 0), Place(Topic.RESULTS, 1)
    project, filling = project_at(log, 0), "x" * 500_000
    for _ in range(20):
        await log.submit(Topic.RESULTS, [record(project, filling)])
    await log.submit(Topic.RESULTS, [record(project_at(log, 1), "me too")])
    tail.follow(busy, 0)
    tail.follow(quiet, 0)
    found = await collect(tail, 21)
    assert (len(found[busy]), texts(found[quiet])) == (20, ["me too"])
    await tail.close()


async def test_steps_come_to_a_tail_as_they_were_written(open_log: OpenLog) -> None:
    log, other = await open_log(), await open_log()
    tail, place = other.tail(), Place(Topic.EVENTS, 0)
    tail.follow(place, 0)
    writer = await log.take_over(0, "one")
    for number in range(30):
        await writer.append(Step(events=[record("shop", f"{number}.{part}") for part in range(3)]))
    found = (await collect(tail, 90))[place]
    assert texts(found) == [f"{n}.{part}" for n in range(30) for part in range(3)]
    assert [r.offset for r in found] == sorted({r.offset for r in found})
    await tail.close()


async def test_a_place_whose_first_records_were_deleted_is_followed_all_the_same(ground: Ground) -> None:
    log = await ground.open_log()
    project, place = project_at(log, 0), Place(Topic.COMMANDS, 0)
    offsets = [(await log.submit(Topic.COMMANDS, [record(project, f"{n}")]))[0][1] for n in range(4)]
    writer = await log.take_over(0, "one")
    positions = writer.positions.__class__(commands=offsets[2])
    await writer.append(Step(events=[record(project, "passed")], positions=positions))
    await writer.delete_before(positions)

    async def is_deleted() -> bool:
        return [r.value for r in await log.read(place, 0)] == [b"2", b"3"]

    await until(is_deleted, "the first two deleted")
    tail = log.tail()
    tail.follow(place, 0)
    assert texts((await collect(tail, 2))[place]) == ["2", "3"]
    await tail.close()


async def test_a_position_before_the_start_of_its_place_is_told_once_and_never_set_back(ground: Ground) -> None:
    log = await ground.open_log()
    project, place = project_at(log, 0), Place(Topic.COMMANDS, 0)
    await log.submit(Topic.COMMANDS, [record(project, f"{n}") for n in range(5)])
    await ground.delete_before(place, 3)
    tail = log.tail()
    tail.follow(place, 1)
    found = (await collect(tail, 2))[place]
    assert [(r.offset, r.value) for r in found] == [(3, b"3"), (4, b"4")]
    assert tail.take_missing() == [Missing(place, position=1, first=3)]
    await log.submit(Topic.COMMANDS, [record(project, "5")])
    assert texts((await collect(tail, 1))[place]) == ["5"]
    assert not tail.take_missing()
    await tail.close()


async def test_a_place_that_was_emptied_before_it_was_read_is_told_as_well(ground: Ground) -> None:
    log = await ground.open_log()
    project, place = project_at(log, 1), Place(Topic.RESULTS, 1)
    await log.submit(Topic.RESULTS, [record(project, f"{n}") for n in range(4)])
    await ground.delete_before(place, 4)
    tail = log.tail()
    tail.follow(place, 1)
    missing: list[Missing] = []

    async def is_told() -> bool:
        assert not await tail.batches(0.1)
        missing.extend(tail.take_missing())
        return bool(missing)

    await until(is_told, "what is missing")
    assert missing == [Missing(place, position=1, first=4)]
    await log.submit(Topic.RESULTS, [record(project, "4")])
    assert texts((await collect(tail, 1))[place]) == ["4"]
    await tail.close()


async def test_what_was_read_before_it_was_deleted_is_not_missing(ground: Ground) -> None:
    log = await ground.open_log()
    project, place = project_at(log, 0), Place(Topic.COMMANDS, 0)
    tail = log.tail()
    tail.follow(place, 0)
    await log.submit(Topic.COMMANDS, [record(project, f"{n}") for n in range(3)])
    await collect(tail, 3)
    await ground.delete_before(place, 3)
    other = log.tail()
    other.follow(place, 3)
    await log.submit(Topic.COMMANDS, [record(project, "3")])
    for one in (tail, other):
        assert texts((await collect(one, 1))[place]) == ["3"]
        assert not one.take_missing()
        await one.close()


async def test_a_history_that_was_cut_off_is_an_error_and_never_passed_over(ground: Ground) -> None:
    log = await ground.open_log()
    place = Place(Topic.EVENTS, 0)
    writer = await log.take_over(0, "one")
    await writer.append(Step([record("shop", "a"), record("shop", "b")]))
    await ground.delete_before(place, 1)
    with pytest.raises(HistoryCutOff, match="the first that is left is 1"):
        await log.read(place, 0)
    tail = log.tail()
    tail.follow(place, 0)
    for _ in range(2):
        with pytest.raises(HistoryCutOff):
            await collect(tail, 1)
    assert [r.value for r in await log.read(place, 1)] == [b"b"]
    assert not await log.read(place, 2)
    await ground.delete_before(place, 2)
    with pytest.raises(HistoryCutOff):
        await log.read(place, 1)
    await tail.close()


async def test_who_leaves_the_place_whose_history_was_cut_off_reads_all_of_the_others(ground: Ground) -> None:
    log = await ground.open_log()
    lost, whole = Place(Topic.EVENTS, 0), Place(Topic.EVENTS, 1)
    for place in (lost, whole):
        writer = await log.take_over(place.partition, "one")
        await writer.append(Step([record(project_at(log, place.partition), text) for text in "abc"]))
    await ground.delete_before(lost, 1)
    tail = log.tail()
    tail.follow(lost, 0)
    tail.follow(whole, 0)
    found: list[str] = []

    async def read_on() -> None:
        while True:
            found.extend(texts((await tail.batches(0.5)).get(whole, ())))

    with pytest.raises(HistoryCutOff) as cut:
        await read_on()
    assert (cut.value.place, cut.value.missing, cut.value.first) == (lost, 0, 1)
    tail.unfollow(cut.value.place)
    while len(found) < 3:
        found += texts((await collect(tail, 1))[whole])
    assert found == ["a", "b", "c"]
    await tail.close()
