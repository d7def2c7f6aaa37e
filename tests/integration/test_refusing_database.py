"""Operations on a database that is there and refuses us: they say so, as services do."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from services.cli.doctor import Grade, examine
from services.cli.failures import Unsuccessful
from services.cli.store import opened_store
from services.settings import Settings


@pytest.fixture
async def powerless(database_url: str) -> AsyncIterator[str]:
    """Who may do nothing in the database but enter it."""
    role = f"powerless_{uuid4().hex}"
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"CREATE ROLE {role} LOGIN")
        yield role
        await connection.execute(f"DROP ROLE {role}")
    finally:
        await connection.close()


@pytest.fixture(params=["a database that is missing", "a user who is unknown", "a user who may do nothing"])
def refusing(request: pytest.FixtureRequest, database_url: str, powerless: str) -> tuple[str, str]:
    """An address of a database that refuses us, and its words."""
    sound = urlsplit(database_url)
    match request.param:
        case "a database that is missing":
            return urlunsplit(sound._replace(path="/nowhere")), 'database "nowhere" does not exist'
        case "a user who is unknown":
            return urlunsplit(sound._replace(netloc="nobody@")), 'role "nobody" does not exist'
        case _:
            return urlunsplit(sound._replace(netloc=f"{powerless}@")), "permission denied for schema public"


async def test_an_operation_on_a_database_that_refuses_us_ends_with_its_words(
    database_url: str, refusing: tuple[str, str], tmp_path: Path
) -> None:
    address, words = refusing
    with pytest.raises(Unsuccessful, match=f"the database: {words}"):
        async with opened_store(Settings(home=tmp_path, log=database_url, database=address)):
            pass


async def test_doctor_finds_a_database_that_refuses_us_and_looks_at_all_else(
    database_url: str, refusing: tuple[str, str], tmp_path: Path
) -> None:
    address, words = refusing
    found = {f.name: f for f in await examine(Settings(home=tmp_path, log=database_url, database=address))}
    assert found["servers"].grade is Grade.MISSING
    assert found["servers"].message == f"the database: {words}"
    assert found["servers"].remedy == "check AUTOPACK_LOG and AUTOPACK_DATABASE"
    assert {"settings", "python", "git", "sandbox", "agents", "disk", "service"} <= found.keys()
