"""The API while its servers stand still: alive, not ready, answering in bounded time, and going on afterwards."""

import asyncio
import re
from pathlib import Path
from time import monotonic

import pytest

from events.catalogue import Topic
from services import readiness
from services.compose import Service
from services.settings import Settings
from support.builds import WRITES_A_FILE, python_agent, repository, request
from support.service import READY_SECONDS, serving
from support.stage import until
from support.standing_still import standing_still

BOUND_SECONDS = 25.0
LAG = re.compile(r"^autopack_projection_lag\{.*\} (\S+)$", re.MULTILINE)


async def test_a_server_that_stands_still_is_said_so_and_a_run_goes_on_behind_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", partitions=2, grace_seconds=2.0)
    agent = python_agent(tmp_path, "agent", f"import time; time.sleep(3)\n{WRITES_A_FILE}")
    async with serving(settings, agent) as (build, client):
        assert (
            await client.post("/runs/start", json=request(repository(tmp_path / "repo"), 2))
        ).status_code == 201
        with standing_still(settings.home_folder):
            began = monotonic()
            answers = await asyncio.gather(
                client.get("/health/live"),
                client.get("/health/ready"),
                client.get("/runs"),
                client.get("/runs/run-1"),
                client.post("/runs/start", json=request(tmp_path / "repo", run_id="run-2")),
                client.get("/runs/run-1/events", params={"follow": "true"}),
            )
            waited = monotonic() - began
        assert [answer.status_code for answer in answers] == [200, 503, 503, 503, 503, 503]
        assert waited < BOUND_SECONDS
        assert (await build.end("run-1"))["data"]["state"] == "DONE_SUCCESS"
        async with asyncio.timeout(30):
            while (await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.1)
        again = await client.post("/runs/start", json=request(tmp_path / "repo", run_id="run-3"))
    assert again.status_code == 201


async def test_the_file_that_says_from_outside_whether_the_api_is_ready_says_what_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "TOUCH_SECONDS", 0.05)
    settings = Settings(home=tmp_path / "home", partitions=1)
    file = settings.home_folder / "ready" / Service.API
    async with serving(settings, services=frozenset({Service.API, Service.PROJECTOR})) as (_, client):
        await until(file.exists, READY_SECONDS)
        with standing_still(settings.home_folder):
            await until(lambda: not file.exists(), READY_SECONDS)
            assert (await client.get("/health/live")).status_code == 200
        await until(file.exists, READY_SECONDS)
        async with asyncio.timeout(30):  # the projector makes its connections anew
            while (answer := await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.05)
        assert (answer.status_code, answer.json()["troubles"]) == (200, {})
        assert answer.json()["services"][Service.API]["ready"] is True


async def test_the_api_is_ready_while_a_run_goes_on_though_files_come_behind_its_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.freshness.MOST_SECONDS", 20.0)
    settings = Settings(home=tmp_path / "home", partitions=1)
    agent = python_agent(tmp_path, "agent", WRITES_A_FILE)
    async with serving(settings, agent) as (build, client):
        started = await client.post("/runs/start", json=request(repository(tmp_path / "repo"), 4))
        assert started.status_code == 201
        ending, answers, lags = asyncio.create_task(build.end("run-1")), set[int](), set[str]()
        while not ending.done():
            answers.add((await client.get("/health/ready")).status_code)
            lags.update(LAG.findall((await client.get("/metrics")).text))
        assert ending.result()["data"]["state"] == "DONE_SUCCESS"
    assert lags > {"0.0"}
    assert answers == {200}


async def test_the_api_is_not_ready_while_nobody_reads_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.freshness.MOST_SECONDS", 0.3)
    settings = Settings(home=tmp_path / "home", partitions=1)
    async with serving(settings, services=frozenset({Service.API, Service.SUPERVISOR})) as (_, client):
        asked = request(tmp_path / "repo")
        assert (await client.post("/runs/start", json=asked, headers={"Prefer": "wait=0"})).status_code == 202
        async with asyncio.timeout(30):
            while (answer := await client.get("/health/ready")).status_code == 200:
                await asyncio.sleep(0.05)
        assert "runs" in answer.json()["troubles"]["projections"]
        assert "not catching up in time" in answer.json()["troubles"]["projections"]


async def test_a_command_whose_answer_cannot_be_looked_up_is_accepted_in_the_time_asked_for(
    tmp_path: Path,
) -> None:
    """The server stops when the command is in the log and its answer, which never comes, is waited for."""
    settings = Settings(home=tmp_path / "home", partitions=1)
    wanted = request(repository(tmp_path / "repo"))
    nobody_decides = frozenset({Service.API, Service.PROJECTOR})
    async with serving(settings, services=nobody_decides) as (build, client):
        starting = asyncio.create_task(client.post("/runs/start", json=wanted, headers={"Prefer": "wait=8"}))
        async with asyncio.timeout(30):
            while not await build.records(Topic.COMMANDS):
                await asyncio.sleep(0.02)
        with standing_still(settings.home_folder):
            done, _ = await asyncio.wait({starting}, timeout=20)
        assert starting in done, "it is answered though the server stands still"
        answer = await starting
    assert (answer.status_code, answer.headers["location"]) == (202, "/runs/run-1?project=shop")
