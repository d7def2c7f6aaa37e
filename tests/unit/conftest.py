"""What tests of a served partition ask for."""

import pytest

from services.supervisor import timer
from support.memory_log import MemoryLog
from support.scenario import START


@pytest.fixture
def machine_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's clock agrees with the log's."""
    monkeypatch.setattr(timer, "time", START.timestamp)


@pytest.fixture
def log(machine_time: None) -> MemoryLog:
    """An empty log in memory, on a machine that agrees with its time."""
    return MemoryLog()
