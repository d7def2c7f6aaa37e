"""What tests of whole builds share: settings for a fresh home on one log or the other."""

from pathlib import Path
from uuid import uuid4

import pytest

from services.settings import Settings


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
