"""The contract of the log, run on every adapter: a log, opened as often as a test likes, empty at first.

An adapter is `contract/providers/<name>.py` with the names that the one for Postgres has.
"""

from collections.abc import AsyncIterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from contract.ground import Ground, OpenLog

from events.log.port import EventLog

ADAPTERS = ("postgres", "kafka")


@pytest.fixture(params=ADAPTERS)
def provider_and_server(request: pytest.FixtureRequest) -> tuple[ModuleType, Any]:
    """The adapter's provider, and the running server that its logs are kept by."""
    provider = import_module(f"contract.providers.{request.param}")
    return provider, request.getfixturevalue(provider.SERVER)


@pytest.fixture
async def ground(provider_and_server: tuple[ModuleType, Any]) -> AsyncIterator[Ground]:
    """An empty log, not opened yet."""
    provider, server = provider_and_server
    async with provider.fresh_log(server) as address:
        ground = Ground(provider, address)
        try:
            yield ground
        finally:
            await ground.close()


@pytest.fixture
def open_log(ground: Ground) -> OpenLog:
    """Opens the test's log; each opening is an instance of its own, and is closed at the end."""
    return ground.open_log


@pytest.fixture
async def log(ground: Ground) -> EventLog:
    """The test's log, opened once."""
    return await ground.open_log()
