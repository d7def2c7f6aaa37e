"""The API while its servers stand still: alive, not ready, answering in bounded time, and going on afterwards."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import psutil

from services.embedded.cluster import read_leader
from services.embedded.layout import Layout
from services.settings import Settings
from support.builds import WRITES_A_FILE, python_agent, repository, request
from support.service import serving

BOUND_SECONDS = 25.0


@contextmanager
def _standing_still(home: Path) -> Iterator[None]:
    """The embedded server, with every process of it."""
    leader = psutil.Process(read_leader(Layout.under(home).data))
    processes = [leader, *leader.children(recursive=True)]
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)


async def test_a_server_that_stands_still_is_said_so_and_a_run_goes_on_behind_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", partitions=2, grace_seconds=2.0)
    agent = python_agent(tmp_path, "agent", f"import time; time.sleep(3)\n{WRITES_A_FILE}")
    async with serving(settings, agent) as (build, client):
        assert (
            await client.post("/runs/start", json=request(repository(tmp_path / "repo"), 2))
        ).status_code == 201
        with _standing_still(settings.home_folder):
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
