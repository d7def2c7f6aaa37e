"""All that was ever submitted comes again, and offsets go back to the beginning: nothing new comes of it."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from events.catalogue import Topic
from events.log.port import EventLog, NewRecord, Place, StoredRecord
from services.settings import Settings
from support.builds import Build, python_agent, repository, request, running, submitted

GROUPS = ("builder", "auditor", "applier", "verifier")
LONGEST_SECONDS = 60.0
COUNTS_ITSELF = """
with open(sys.argv[1], "w") as pipe:  # all that can be written to from within a sandbox
    pipe.write(request["run_id"] + "\\n")
pathlib.Path(request["phase"]["phase_id"] + ".txt").write_text("done\\n")
"""


@asynccontextmanager
async def heard(log: EventLog) -> AsyncIterator[list[StoredRecord]]:
    """All that is submitted while the block lasts, and is let go of when it has been decided."""
    found: list[StoredRecord] = []
    tail = log.tail()
    for topic in (Topic.COMMANDS, Topic.RESULTS):
        for partition in range(log.partition_count):
            tail.follow(Place(topic, partition), 0)

    async def listen() -> None:
        while True:
            for records in (await tail.batches(0.2)).values():
                found.extend(records)

    listening = asyncio.create_task(listen())
    try:
        yield found
    finally:
        listening.cancel()
        await asyncio.wait({listening})
        await tail.close()


async def ended(build: Build, run_id: str) -> list[bytes]:
    """The history of a run that has succeeded."""
    assert (await build.end(run_id, seconds=LONGEST_SECONDS))["data"]["state"] == "DONE_SUCCESS"
    records = await build.records(Topic.EVENTS)
    return [record.value for record in records if json.loads(record.value)["runid"] == run_id]


async def test_what_comes_again_has_no_effect_wherever_it_was_read_from(
    log_settings: Settings, tmp_path: Path
) -> None:
    repo, starts = repository(tmp_path / "repo"), tmp_path / "starts"
    os.mkfifo(starts)
    starts.chmod(0o666)  # in a sandbox agents may run as another user
    pipe = os.open(starts, os.O_RDWR | os.O_NONBLOCK)
    agent = (*python_agent(tmp_path, "agent", COUNTS_ITSELF), str(starts))
    async with running(log_settings, agent) as build:
        async with heard(build.log) as found:
            await build.start(request(repo, 2))
            unknown = submitted("RunCancelRequested", {"reason": "there is no such run"}, "run-0", "shop")
            await build.log.submit(Topic.COMMANDS, [unknown])
            first = await ended(build, "run-1")
            answered = {json.loads(value)["id"] for value in first}
            async with asyncio.timeout(LONGEST_SECONDS):
                while not any(json.loads(r.value)["id"] in answered for r in found if r.topic is Topic.RESULTS):
                    await asyncio.sleep(0.02)
        submissions = list(found)
        for _ in range(2):
            for topic in (Topic.COMMANDS, Topic.RESULTS):
                again = [NewRecord("shop", r.value, r.headers) for r in submissions if r.topic is topic]
                await build.log.submit(topic, again)
        await build.start(request(repo, 1, run_id="run-2"))
        second = await ended(build, "run-2")
        assert await ended(build, "run-1") == first
        for group in GROUPS:
            membership = await build.log.join(group)
            for partition in range(build.log.partition_count):
                await membership.commit(partition, 0)
            await membership.leave()
    async with running(log_settings, agent) as build:
        await build.start(request(repo, 1, run_id="run-3"))
        await ended(build, "run-3")
        assert (await ended(build, "run-1"), await ended(build, "run-2")) == (first, second)
    assert os.read(pipe, 1 << 16).decode().split() == ["run-1", "run-1", "run-2", "run-3"]
    os.close(pipe)
