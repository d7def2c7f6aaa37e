"""The proxy strikes at commits of what is wanted, and at nothing that only looks like one."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from servers.postgres_proxy import PostgresProxy, Statement, postgres_proxy

WRITE = "INSERT INTO written SELECT $1::integer WHERE $2 RETURNING number"


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[PostgresProxy]:
    async with postgres_proxy(database_url) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: PostgresProxy, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    client = await asyncpg.connect(proxy.through(database_url))
    await client.execute("CREATE TABLE written (number integer PRIMARY KEY)")
    yield client
    client.terminate()


def _writes(one: Statement) -> bool:
    return one.text == WRITE


async def test_a_statement_that_fails_or_does_nothing_is_answered_and_the_next_one_is_cut(
    proxy: PostgresProxy, client: asyncpg.Connection, database_url: str
) -> None:
    await client.execute("INSERT INTO written VALUES (1)")
    trap = proxy.cut(_writes)
    with pytest.raises(asyncpg.UniqueViolationError):
        await client.fetch(WRITE, 1, True)
    assert await client.fetch(WRITE, 2, False) == []
    assert (trap.struck, trap.in_vain) == (0, 2)
    with pytest.raises((OSError, asyncpg.PostgresConnectionError)):
        await client.fetch(WRITE, 3, True)
    await trap.until_sprung()
    other = await asyncpg.connect(database_url)
    assert [row["number"] for row in await other.fetch("SELECT number FROM written ORDER BY number")] == [1, 3]
    await other.close()


async def test_what_is_wanted_is_told_the_parameters_and_whether_its_transaction_only_reads(
    proxy: PostgresProxy, client: asyncpg.Connection
) -> None:
    seen: list[Statement] = []
    proxy.cut(lambda one: bool(seen.append(one)))  # type: ignore[func-returns-value]
    for options in ({"isolation": "repeatable_read", "readonly": True}, {}):
        async with client.transaction(**options):
            await client.fetchval("SELECT $1::text", "what is bound")
    assert [one.reads_only for one in seen if one.text == "COMMIT;"] == [True, False]
    assert b"what is bound" in next(one.bound for one in seen if one.text == "SELECT $1::text")


async def test_a_strike_after_which_the_answer_came_all_the_same_does_not_count(
    proxy: PostgresProxy, client: asyncpg.Connection
) -> None:
    called: list[int] = []
    trap = proxy.strike(_writes, lambda: called.append(1), times=2)
    assert await client.fetchval(WRITE, 1, True) == 1
    assert (called, trap.struck, trap.in_vain) == ([1], 0, 1)


async def test_what_goes_wrong_in_a_strike_is_raised_to_who_waits_for_it(
    proxy: PostgresProxy, client: asyncpg.Connection
) -> None:
    def fail() -> None:
        raise ValueError("nothing to be killed")

    trap = proxy.strike(_writes, fail)
    await client.fetchval(WRITE, 1, True)
    with pytest.raises(ValueError, match="nothing to be killed"):
        await trap.until_sprung()
