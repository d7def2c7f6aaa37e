"""What tests of whole builds share: settings for a fresh home on one log or the other, and a command line."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from services.settings import Settings
from support.command_line import CommandLine


@pytest.fixture
async def cli(tmp_path: Path) -> AsyncIterator[CommandLine]:
    """The command line with a home of its own, beside a repository; what it started ends with the test."""
    command_line = CommandLine(tmp_path)
    command_line.make_repository()
    yield command_line
    await command_line.stop()


@pytest.fixture(params=["postgres", "kafka"])
def log_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A home of its own and a fresh log: the test runs once on each."""
    return fresh_settings(request, tmp_path, request.param)


@pytest.fixture
def postgres_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A home of its own and a fresh log on Postgres."""
    return fresh_settings(request, tmp_path, "postgres")


def fresh_settings(request: pytest.FixtureRequest, tmp_path: Path, log: str) -> Settings:
    database = request.getfixturevalue("database_url")
    chosen = {"home": tmp_path / "home", "partitions": 2, "database": database, "grace_seconds": 2.0}
    if log == "postgres":
        return Settings(log=database, **chosen)
    broker = request.getfixturevalue("kafka_broker")
    return Settings(log=f"kafka://{broker.bootstrap}", topic_prefix=f"t{uuid4().hex[:10]}.", **chosen)
