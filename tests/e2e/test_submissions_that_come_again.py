"""All that was ever submitted comes again, and offsets go back to the beginning: nothing new comes of it."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from events.catalogue import Topic
from events.log.port import EventLog, NewRecord, Place, StoredRecord
from services.logs import open_log
from services.servers import open_servers
from services.settings import Settings
from support.builds import Build, python_agent, repository, request, running, submitted

SUPERVISOR = "/autopack/supervisor"
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
        assert not listening.done(), "it was not heard to the end"
        listening.cancel()
        await asyncio.wait({listening})
        await tail.close()


async def ended(build: Build, run_id: str) -> list[bytes]:
    """The history of a run that has succeeded."""
    assert (await build.end(run_id, seconds=LONGEST_SECONDS))["data"]["state"] == "DONE_SUCCESS"
    records = await build.records(Topic.EVENTS)
    return [record.value for record in records if json.loads(record.value)["runid"] == run_id]


async def go_back_to_the_beginning(settings: Settings) -> None:
    """Have every group believe that it has read nothing yet. No service may run."""
    async with open_servers(settings) as servers:
        log = await open_log(settings, servers)
        try:
            if not str(settings.log).startswith("kafka"):
                connection = await asyncpg.connect(str(settings.log))
                await connection.execute("UPDATE autopack_log.group_offsets SET next_offset = 0")
                await connection.close()
            for group in GROUPS:
                membership = await log.join(group)
                own = frozenset[int]()
                async with asyncio.timeout(LONGEST_SECONDS):
                    while own != frozenset(range(log.partition_count)):
                        own = await membership.changed(own)
                for partition in own:
                    await membership.commit(partition, 0)
                assert {await membership.committed(partition) for partition in own} <= {0, None}
                await membership.leave()
        finally:
            await log.close()


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
            events = [json.loads(value) for value in first]
            answered = {one["id"] for one in events if not one["source"].startswith(SUPERVISOR)}
            assert len(answered) > len(events) // 3
            async with asyncio.timeout(LONGEST_SECONDS):
                while not answered <= {json.loads(record.value)["id"] for record in found}:
                    await asyncio.sleep(0.02)
        submissions = list(found)
        for _ in range(2):
            for topic in (Topic.COMMANDS, Topic.RESULTS):
                again = [NewRecord("shop", r.value, r.headers) for r in submissions if r.topic is topic]
                await build.log.submit(topic, again)
        await build.start(request(repo, 1, run_id="run-2"))
        second = await ended(build, "run-2")
        assert await ended(build, "run-1") == first
    await go_back_to_the_beginning(log_settings)
    async with running(log_settings, agent) as build:
        await build.start(request(repo, 1, run_id="run-3"))
        await ended(build, "run-3")
        assert (await ended(build, "run-1"), await ended(build, "run-2")) == (first, second)
    assert os.read(pipe, 1 << 16).decode().split() == ["run-1", "run-1", "run-2", "run-3"]
    os.close(pipe)
