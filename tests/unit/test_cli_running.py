"""What is printed of a run that was followed to its end."""

import json
from collections import deque
from pathlib import Path

import httpx
import pytest
from immutables import Map

from events.codec import read_history
from events.history import chain
from services.cli.client import Client
from services.cli.run_view import RunView, fold
from services.cli.running import tell_of_end
from services.settings import Settings
from support.scenario import Scenario


def ended_view() -> RunView:
    """A run that went well, as its history tells it."""
    scenario = Scenario().started([{"phase_id": "P1"}])
    scenario.completed("P1")
    records, _ = chain(Map(), "shop", scenario.history)
    view = RunView()
    for record in records:
        view = fold(view, read_history(record.value))
    return view


async def test_tables_that_are_behind_the_history_are_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = deque(["CI_RUNNING", "SNAPSHOT_CREATED", "DONE_SUCCESS"])

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"run_id": "run-1", "project": "shop", "state": states.popleft()})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://service") as http:
        await tell_of_end(Settings(home=tmp_path), Client(http), ended_view(), as_json=True)
    assert json.loads(capsys.readouterr().out)["state"] == "DONE_SUCCESS"
    assert not states
