"""Writing to the log on Postgres: many at once without deadlock, cut off without harm, expiring in time."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import Fenced, Forward, LogUnavailable, NewRecord, Place, Positions, Step
from events.log.postgres import PostgresLog
from events.log.postgres.retention import expire

PARTITIONS = 4
HOME = home_partition("shop", PARTITIONS)


def stray(partition: int, value: str, topic: Topic = Topic.COMMANDS) -> Forward:
    return Forward(topic, partition, NewRecord("shop", value.encode()))


async def test_writers_that_forward_to_each_other_never_lock_each_other_out(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)

    async def write(partition: int) -> None:
        writer = await log.take_over(partition, f"{partition}")
        for number in range(25):
            order = sorted(range(PARTITIONS), key=lambda p: (p * 7 + number + partition) % PARTITIONS)
            forwards = [
                stray(p, f"{partition}.{number}", t) for p in order for t in (Topic.RESULTS, Topic.COMMANDS)
            ]
            step = Step([NewRecord("shop", b"e")], [NewRecord("shop", b"r")], forwards, Positions(number, number))
            assert await writer.append(step) == number + 1

    async def submit() -> None:
        for number in range(25):
            await log.submit(Topic.RESULTS, [NewRecord(f"{p}-{number}", b"submitted") for p in range(PARTITIONS)])

    await asyncio.gather(*(write(partition) for partition in range(PARTITIONS)), submit(), submit())
    for topic in (Topic.COMMANDS, Topic.RESULTS):
        for partition, end in (await log.ends(topic)).items():
            found = await log.read(Place(topic, partition), 0)
            assert [r.offset for r in found] == list(range(end))
            forwarded = [r.value for r in found if r.value != b"submitted"]
            assert len(set(forwarded)) == len(forwarded) == PARTITIONS * 25
    await log.close()


async def test_a_forward_to_a_partition_that_is_not_there_is_refused_and_nothing_written(
    database_url: str,
) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    writer = await log.take_over(0, "one")
    with pytest.raises(ValueError, match="none of 4"):
        await writer.append(Step([NewRecord("shop", b"x")], forwards=[stray(4, "lost")]))
    assert (await log.ends(Topic.EVENTS))[0] == 0
    await log.close()


async def test_an_append_that_gets_no_answer_in_time_leaves_a_dropped_writer_and_a_known_end(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    patient = await PostgresLog.open(database_url, PARTITIONS)
    for topic in (Topic.COMMANDS, Topic.RESULTS):
        await log.submit(topic, [NewRecord("shop", b"read")] * 3)
    writer = await log.take_over(HOME, "one")
    await writer.append(Step([NewRecord("shop", b"before")], positions=Positions(1, 1)))
    blocker = await asyncpg.connect(database_url)
    async with blocker.transaction():
        await blocker.execute(f"SELECT FROM autopack_log.heads WHERE partition = {HOME} FOR UPDATE")
        monkeypatch.setattr(log._server, "limit_seconds", 1.0)
        with pytest.raises(LogUnavailable, match="no answer within 1 s"):
            await writer.append(Step([NewRecord("shop", b"unknown")], positions=Positions(2, 2)))
        taking_over = asyncio.create_task(patient.take_over(HOME, "two"))
        with pytest.raises(LogUnavailable, match="dropped"):
            await writer.append(Step([NewRecord("shop", b"again")]))
    monkeypatch.undo()
    successor = await taking_over
    await successor.append(Step([NewRecord("shop", b"after")], positions=Positions(3, 3)))
    values = [r.value for r in await log.read(Place(Topic.EVENTS, HOME), 0)]
    assert values == [b"before", *([b"unknown"] if successor.end == 2 else []), b"after"]
    assert successor.positions == Positions(successor.end, successor.end)
    await blocker.close()
    await log.close()
    await patient.close()


async def test_cancelled_operations_leave_the_log_fit_for_use(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    for number in range(30):
        task = asyncio.create_task(log.submit(Topic.COMMANDS, [NewRecord("shop", f"{number}".encode())]))
        for _ in range(number % 6):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    [(place, offset)] = await log.submit(Topic.COMMANDS, [NewRecord("shop", b"last")])
    found = await log.read(place, 0)
    assert [r.offset for r in found] == list(range(offset + 1))
    assert found[-1].value == b"last"
    await log.close()


async def test_a_lease_is_renewed_by_appending_and_by_renewing_and_ends_with_closing(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    connection = await asyncpg.connect(database_url)

    async def lease() -> tuple[str | None, object]:
        row = await connection.fetchrow(
            "SELECT owner, lease_until FROM autopack_log.heads WHERE topic = 'autopack.events' AND partition = 0"
        )
        assert row is not None
        return row["owner"], row["lease_until"]

    writer = await log.take_over(0, "one")
    owner, first = await lease()
    await writer.append(Step([NewRecord("shop", b"x")]))
    _, second = await lease()
    await writer.renew()
    _, third = await lease()
    assert owner == "one"
    assert first < second < third
    await writer.close()
    assert await lease() == (None, None)
    await connection.close()
    await log.close()


async def test_a_zombie_cannot_renew_and_its_closing_takes_nothing_from_the_owner(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    zombie, other = await log.take_over(0, "zombie"), await log.take_over(0, "owner")
    await zombie.close()
    await other.append(Step([NewRecord("shop", b"x")]))
    third = await log.take_over(0, "third")
    with pytest.raises(Fenced):
        await other.renew()
    await third.renew()
    await log.close()


async def test_only_what_a_written_step_has_passed_can_be_deleted(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    partition = home_partition("shop", PARTITIONS)
    await log.submit(Topic.COMMANDS, [NewRecord("shop", f"{n}".encode()) for n in range(5)])
    writer = await log.take_over(partition, "one")
    await writer.append(Step([NewRecord("shop", b"x")], positions=Positions(commands=2)))
    await writer.delete_before(Positions(commands=5, results=5))
    assert [r.offset for r in await log.read(Place(Topic.COMMANDS, partition), 0)] == [2, 3, 4]
    await log.close()


async def test_what_is_past_its_time_expires_and_nothing_else(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    place = Place(Topic.OUTPUT, home_partition("shop", PARTITIONS))
    await log.submit(Topic.OUTPUT, [NewRecord("shop", f"{n}".encode()) for n in range(6)])
    await log.submit(Topic.RESULTS, [NewRecord("shop", b"kept")])
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        'UPDATE autopack_log.records SET recorded_at = recorded_at - $1::interval WHERE "offset" < 4',
        timedelta(hours=2),
    )
    await expire(log._lazy, Topic.OUTPUT, PARTITIONS, 3600)
    assert [r.value for r in await log.read(place, 0)] == [b"4", b"5"]
    await expire(log._lazy, Topic.OUTPUT, PARTITIONS, 0)
    assert await log.read(place, 0) == []
    [(_, offset)] = await log.submit(Topic.OUTPUT, [NewRecord("shop", b"6")])
    assert offset == 6
    assert len(await log.read(Place(Topic.RESULTS, place.partition), 0)) == 1
    await connection.close()
    await log.close()


async def test_the_recorded_time_never_goes_back_even_if_the_servers_clock_does(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE autopack_log.heads SET recorded_at = clock_timestamp() + interval '1 hour'")
    writer = await log.take_over(0, "one")
    await writer.append(Step([NewRecord("shop", b"x")]))
    await writer.append(Step([NewRecord("shop", b"y")], [NewRecord("shop", b"z")]))
    now = await connection.fetchval("SELECT clock_timestamp()")
    times = [r.recorded_at for r in await log.read(Place(Topic.EVENTS, 0), 0)]
    assert times == sorted(times)
    assert times[0] > now + timedelta(minutes=59)
    await connection.close()
    await log.close()


async def test_a_submission_that_has_not_begun_when_the_log_is_closed_is_told_so(database_url: str) -> None:
    log = await PostgresLog.open(database_url, PARTITIONS)
    submitting = asyncio.create_task(log.submit(Topic.RESULTS, [NewRecord("shop", b"too late")]))
    await asyncio.sleep(0)
    await log.close()
    with pytest.raises(LogUnavailable, match="closed"):
        await asyncio.wait_for(submitting, 5)
