"""Opening the database of the read models: whoever waits for it is told why."""

import asyncio

import pytest

from projections import opening
from projections.opening import DatabaseUnavailable, lazy_pool, reach


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take whatever comes, and say nothing."""
    await reader.read()
    writer.close()


async def test_a_database_that_does_not_answer_is_told_with_the_time_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opening, "LIMIT_SECONDS", 0.1)
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pool = await lazy_pool(f"postgresql://somebody@127.0.0.1:{port}/tables", (), most_connections=1)
        with pytest.raises(DatabaseUnavailable, match=r"the database: no answer within 0\.1 s"):
            await reach(pool)
        pool.terminate()
