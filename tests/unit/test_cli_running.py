"""A run that is submitted, followed to its end or interrupted, and what is printed of it."""

import asyncio
import json
import signal
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from immutables import Map

from events.codec import read_history
from events.history import chain
from services.cli import following, running
from services.cli.client import Client
from services.cli.failures import Interrupted, ServiceUnreachable, StreamBroken
from services.cli.following import Silent
from services.cli.interrupts import SIGNALS, Interrupts
from services.cli.run_view import RunView, fold
from services.cli.running import Manner, run_document, submit_and_follow, tell_of_end
from services.settings import Settings
from support.scenario import Scenario, plan


def records_of(scenario: Scenario) -> list[bytes]:
    records, _ = chain(Map(), "shop", scenario.history)
    return [record.value for record in records]


def ended_view() -> RunView:
    """A run that went well, as its history tells it."""
    scenario = Scenario().started([{"phase_id": "P1"}])
    scenario.completed("P1")
    view = RunView()
    for record in records_of(scenario):
        view = fold(view, read_history(record))
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


async def test_with_a_service_elsewhere_a_run_s_document_says_that_its_folder_is_not_known(tmp_path: Path) -> None:
    there = httpx.MockTransport(lambda _: httpx.Response(200, json={"run_id": "run-1", "project": "shop"}))
    async with httpx.AsyncClient(transport=there, base_url="http://service") as http:
        elsewhere = await run_document(Settings(home=tmp_path, url="http://service"), Client(http), "run-1")
        here = await run_document(Settings(home=tmp_path), Client(http), "run-1")
    assert elsewhere == {"run_id": "run-1", "project": "shop", "run_files": None}
    assert here["run_files"].startswith(str(tmp_path))


class Flaky:
    """A client whose lines of agents break off again and again, and whose run ends when all have been told."""

    def __init__(self) -> None:
        self.asked = 0
        self.told = asyncio.Event()

    async def output(self, _: str) -> AsyncIterator[bytes]:
        self.asked += 1
        if self.asked % 2:
            raise ServiceUnreachable("gone")
        yield json.dumps({"phase_id": "P1", "lines": [f"line {self.asked}"]}).encode()
        if self.asked == 4:
            self.told.set()

    async def records(self, *_: object, follow: bool) -> AsyncIterator[bytes]:
        scenario = Scenario().started([{"phase_id": "P1"}])
        begun = len(scenario.history)
        scenario.completed("P1")
        records = records_of(scenario)
        for record in records[:begun]:
            yield record
        await self.told.wait()
        for record in records[begun:]:
            yield record


class Drawn(Silent):
    """What was shown of the agent."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def wrote(self, view: RunView) -> None:
        self.lines.append(view.work["P1"].last_line)


async def test_an_agent_s_lines_are_shown_again_after_a_service_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "AGAIN_SECONDS", 0.01)
    drawn = Drawn()
    async with asyncio.timeout(10):
        view = await following.Following(Flaky(), "run-1", drawn).to_the_end()  # type: ignore[arg-type]  # its port
    assert view.ended
    assert drawn.lines == ["line 2", "line 4"]


class Restarted:
    """A service that is restarted again and again: it tells a little of a run, and breaks off."""

    def __init__(self, events_each: int) -> None:
        scenario = Scenario().started([{"phase_id": "P1"}])
        scenario.completed("P1")
        self._records = records_of(scenario)
        self._events_each = events_each

    async def output(self, _: str) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def records(self, _: str, after: int, *, follow: bool) -> AsyncIterator[bytes]:
        await asyncio.sleep(0.06)  # longer than anybody is patient
        rest = self._records[after + 1 :]
        for record in rest[: self._events_each]:
            yield record
        if len(rest) > self._events_each:
            raise StreamBroken("it broke off")


async def test_a_service_that_is_restarted_again_and_again_is_waited_for_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.05)
    view = await following.Following(Restarted(8), "run-1", Silent()).to_the_end()  # type: ignore[arg-type]
    assert view.ended


async def test_a_service_that_breaks_off_before_it_has_told_anything_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(StreamBroken):
        await following.Following(Restarted(0), "run-1", Silent()).to_the_end()  # type: ignore[arg-type]


async def test_a_quiet_stream_that_stood_for_long_is_no_reason_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a proxy, which cuts what it sees no use of."""
    monkeypatch.setattr(following, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(following, "STOOD_SECONDS", 0.05)
    service = Restarted(0)
    end = asyncio.create_task(following.Following(service, "run-1", Silent()).to_the_end())  # type: ignore[arg-type]
    await asyncio.sleep(0.5)
    assert not end.done()
    service._events_each = 1000
    assert (await end).ended


class InterruptedService:
    """A service that is told of a run while the command is interrupted, and ends the run when it is cancelled."""

    def __init__(self, sent: signal.Signals, *, answers: bool = True, cancels: bool = True) -> None:
        self.sent = sent
        self.answers = answers
        self.cancels = cancels
        self.cancelled = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/runs/start":
            signal.raise_signal(self.sent)
            await (asyncio.sleep(0.1) if self.answers else asyncio.Event().wait())
            return httpx.Response(201, json={"run_id": "run-1", "project": "shop", "state": "PLAN_BOOTSTRAP"})
        if path == "/runs/run-1/cancel":
            self.cancelled.set()
            return httpx.Response(202, json={}) if self.cancels else httpx.Response(409, json={"detail": "ended"})
        return httpx.Response(200, content=self._history())

    async def _history(self) -> AsyncIterator[bytes]:
        scenario = Scenario().started([{"phase_id": "P1"}])
        begun = len(scenario.history)
        scenario.cancelled()
        lines = [record + b"\n" for record in records_of(scenario)]
        yield b"".join(lines[:begun])
        await self.cancelled.wait()
        yield b"".join(lines[begun:])


@pytest.mark.parametrize("cancels", [True, False], ids=["cancelled", "ended_of_itself"])
@pytest.mark.parametrize("sent", SIGNALS)
async def test_a_run_whose_command_is_interrupted_while_it_is_submitted_is_cancelled(
    sent: signal.Signals, cancels: bool, tmp_path: Path
) -> None:
    service = InterruptedService(sent, cancels=cancels)
    async with httpx.AsyncClient(transport=httpx.MockTransport(service), base_url="http://service") as http:
        with (
            pytest.raises(Interrupted, match="run-1 is DONE_FAILED_CANCELLED"),
            Interrupts() as interrupts,
        ):
            await submit_and_follow(Settings(home=tmp_path), Client(http), plan(), Manner(), interrupts)
    assert service.cancelled.is_set()


async def test_an_interrupted_submission_that_nobody_answers_is_left_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "CANCEL_SECONDS", 0.2)
    service = InterruptedService(signal.SIGINT, answers=False)
    async with httpx.AsyncClient(transport=httpx.MockTransport(service), base_url="http://service") as http:
        with pytest.raises(Interrupted, match="not known yet"), Interrupts() as interrupts:
            await submit_and_follow(Settings(home=tmp_path), Client(http), plan(), Manner(), interrupts)


@pytest.mark.parametrize("sent", SIGNALS)
async def test_a_command_that_is_interrupted_before_it_has_begun_anything_says_so(sent: signal.Signals) -> None:
    async def interrupted() -> None:
        with Interrupts():
            signal.raise_signal(sent)
            await asyncio.Event().wait()

    with pytest.raises(Interrupted):
        await interrupted()
