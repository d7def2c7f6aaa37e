"""Opening the log on Postgres: its tables are made once, and never taken for what they are not."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import LogUnavailable, LogUnfit, NewRecord, Place, Positions, Step
from events.log.postgres import PostgresLog
from events.log.postgres.reading import NO_END, PAGES, RANGE
from events.log.postgres.server import Pool, Server


async def test_many_that_open_an_empty_database_at_once_get_one_log(database_url: str) -> None:
    logs = await asyncio.gather(*(PostgresLog.open(database_url, 4) for _ in range(12)))
    [(place, offset)] = await logs[0].submit(Topic.COMMANDS, [NewRecord("shop", b"x")])
    for log in logs:
        assert [r.value for r in await log.read(place, offset)] == [b"x"]
        assert sorted(await log.ends(Topic.EVENTS)) == [0, 1, 2, 3]
        await log.close()


async def test_another_number_of_partitions_is_refused_and_both_are_named(database_url: str) -> None:
    await (await PostgresLog.open(database_url, 4)).close()
    with pytest.raises(LogUnfit, match="with 4 partitions, for ever, not 8"):
        await PostgresLog.open(database_url, 8)


async def test_tables_of_another_version_are_refused(database_url: str) -> None:
    await (await PostgresLog.open(database_url, 4)).close()
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE autopack_log.settings SET schema_version = 2")
    await connection.close()
    with pytest.raises(LogUnfit, match="version 2, not 1"):
        await PostgresLog.open(database_url, 4)


async def test_what_was_written_is_there_when_the_log_is_opened_again(database_url: str) -> None:
    log = await PostgresLog.open(database_url, 4)
    home = home_partition("shop", 4)
    await log.submit(Topic.COMMANDS, [NewRecord("shop", b"read")] * 3)
    await log.submit(Topic.RESULTS, [NewRecord("shop", b"read")] * 4)
    writer = await log.take_over(home, "one")
    await writer.append(Step([NewRecord("shop", b"x")], positions=Positions(3, 4)))
    await log.close()
    log = await PostgresLog.open(database_url, 4)
    assert (await log.take_over(home, "two")).positions == Positions(3, 4)
    assert [r.value for r in await log.read(Place(Topic.EVENTS, home), 0)] == [b"x"]
    await log.close()


async def test_a_server_that_is_not_there_makes_the_log_unavailable_with_the_cause(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match=r"opening the log: .*Error"):
        await PostgresLog.open(f"postgresql://autopack@/postgres?host={tmp_path}", limit_seconds=5)


async def test_one_connection_serves_statement_after_statement(database_url: str) -> None:
    """Each end of a connection would be a loss: tails over, partitions taken over anew, all at work together."""
    server = Server(database_url, 10.0)
    pool = Pool(server, waits_for_disk=True)
    asked = [await pool.fetch("asking who answers", "SELECT pg_backend_pid()") for _ in range(100)]
    assert len({row["pg_backend_pid"] for (row,) in asked}) == 1
    assert server.losses == 0
    await pool.close()


async def test_a_connection_that_was_cut_while_nobody_used_it_is_replaced(database_url: str) -> None:
    server = Server(database_url, 10.0)
    pool = Pool(server, waits_for_disk=True)
    ((first,),) = await pool.fetch("asking who answers", "SELECT pg_backend_pid()")
    watcher = await asyncpg.connect(database_url)
    await watcher.execute("SELECT pg_terminate_backend($1)", first)
    async with asyncio.timeout(10):
        while server.losses == 0:
            await asyncio.sleep(0.01)
    ((second,),) = await pool.fetch("asking who answers", "SELECT pg_backend_pid()")
    assert first != second
    await pool.close()
    await watcher.close()


async def test_a_closed_log_says_so_and_leaves_no_connection(database_url: str) -> None:
    log = await PostgresLog.open(database_url, 4)
    tail = log.tail()
    tail.follow(Place(Topic.EVENTS, 0), 0)
    await tail.batches(0)
    await log.join("workers")
    await log.submit(Topic.RESULTS, [NewRecord("shop", b"x")])
    await log.close()
    with pytest.raises(LogUnavailable):
        await log.check()
    with pytest.raises(LogUnavailable):
        await tail.batches(0)
    async with asyncio.timeout(10):
        while await connections_to(database_url):
            await asyncio.sleep(0.02)


async def test_a_log_under_load_needs_eight_connections_at_most(database_url: str) -> None:
    log = await PostgresLog.open(database_url, 4)
    await log.join("workers")
    tails = [log.tail() for _ in range(10)]
    for tail in tails:
        tail.follow(Place(Topic.RESULTS, 0), 0)
    async with asyncio.TaskGroup() as group:
        for tail in tails:
            group.create_task(tail.batches(0.5))
        for number in range(100):
            topic = Topic.COMMANDS if number % 2 else Topic.RESULTS
            group.create_task(log.submit(topic, [NewRecord(f"{number}", b"x")]))
            group.create_task(log.ends(topic))
    assert 4 <= await connections_to(database_url) <= 8
    await log.close()


async def test_commands_and_steps_wait_for_the_disk_even_where_the_database_would_not(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    log = await PostgresLog.open(database_url, 4)
    await log.submit(Topic.COMMANDS, [NewRecord("shop", b"x")])
    await log.submit(Topic.RESULTS, [NewRecord("shop", b"x")])
    show = "SHOW synchronous_commit"
    assert [row[0] for row in await log._durable.fetch("asking", show)] == ["on"]
    assert [row[0] for row in await log._lazy.fetch("asking", show)] == ["off"]
    await log.close()
    await connection.close()


@pytest.mark.parametrize("statement", [RANGE, PAGES], ids=["range", "pages"])
async def test_reading_goes_along_the_primary_key_and_never_through_the_table(
    database_url: str, statement: str
) -> None:
    log = await PostgresLog.open(database_url, 4)
    records = [NewRecord("shop", b"x" * 300)] * 2000
    await log.submit(Topic.RESULTS, records)
    await log.submit(Topic.COMMANDS, records)
    partition = home_partition("shop", 4)
    connection = await asyncpg.connect(database_url)
    await connection.execute("ANALYZE autopack_log.records")
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    if statement is RANGE:
        arguments: tuple[object, ...] = (Topic.RESULTS.value, partition, 1990, NO_END)
    else:
        arguments = ([Topic.RESULTS.value], [partition], [1990])
    assert len(await connection.fetch(statement, *arguments)) == 10
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *arguments))
    assert "records_pkey" in plan
    assert "Seq Scan" not in plan
    await connection.close()
    await log.close()


async def connections_to(url: str) -> int:
    """How many connections of logs the database has."""
    connection = await asyncpg.connect(url)
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'autopack log'"
    )
    await connection.close()
    return count


async def test_who_is_cancelled_just_as_the_connection_is_lost_is_cancelled_all_the_same(
    database_url: str,
) -> None:
    pool = Pool(Server(database_url, 30.0), waits_for_disk=True)
    watcher = await asyncpg.connect(database_url)
    sleeping = asyncio.create_task(pool.fetch("sleeping", "SELECT pg_sleep(60)"))
    at_it = "SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND datname = current_database()"
    async with asyncio.timeout(20):
        while not await watcher.fetch(at_it):
            await asyncio.sleep(0.01)
        (own,) = pool._lent
        own.terminate()
        sleeping.cancel()
        await asyncio.wait({sleeping})
    assert sleeping.cancelled()
    await pool.close()
    await watcher.close()
