"""What the API sends over time: a run's records and live output, over a log that others fill, and goes away."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest
from contract.providers.postgres import write_foreign

from events.catalogue import Topic
from events.log.port import LogUnavailable, NewRecord, Place, StoredRecord
from services.cli.verifying import verify
from services.compose import Service
from services.settings import Settings
from support.builds import Build, request, submitted
from support.service import serving

SERVICES = frozenset({Service.API, Service.PROJECTOR, Service.SUPERVISOR})
NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture
async def served(postgres_settings: Settings) -> AsyncIterator[tuple[Build, httpx.AsyncClient]]:
    async with serving(postgres_settings, services=SERVICES) as (build, client):
        yield build, client


def plan(run_id: str) -> dict[str, Any]:
    """A run that only tracks."""
    return request(None, run_id=run_id, agents={"builder": "external"})


async def started(client: httpx.AsyncClient, *run_ids: str) -> None:
    for run_id in run_ids:
        assert (await client.post("/runs/start", json=plan(run_id))).status_code == 201


async def ended(build: Build, client: httpx.AsyncClient, run_id: str) -> None:
    await client.post(f"/runs/{run_id}/cancel")
    await build.end(run_id)
    async with asyncio.timeout(30):
        while (await client.get(f"/runs/{run_id}")).json()["state"] != "DONE_FAILED_CANCELLED":
            await asyncio.sleep(0.02)


async def until_its_files_are_written(build: Build, run_id: str) -> None:
    folder = build.application.settings.run_files_folder
    async with asyncio.timeout(30):
        while not any("incident/events" in file.read_text() for file in folder.rglob(f"{run_id}/.manifest.json")):
            await asyncio.sleep(0.05)


class Reads:
    """How much of the log is read for an answer."""

    def __init__(self, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records = 0
        self.away = False
        self._read = build.log.read
        monkeypatch.setattr(build.log, "read", self.read)

    async def read(self, place: Place, start: int, end: int | None = None) -> list[StoredRecord]:
        if self.away:
            raise LogUnavailable("away")
        found = list(await self._read(place, start, end))
        self.records += len(found)
        return found


async def test_a_run_is_told_without_reading_what_lies_around_it(
    served: tuple[Build, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    build, client = served
    await started(client, "before", "run-1")
    await started(client, *(f"between-{number}" for number in range(40)))
    await ended(build, client, "run-1")
    await started(client, *(f"behind-{number}" for number in range(40)))
    await until_its_files_are_written(build, "run-1")  # they are made of what is read here
    history = await build.history()
    reads = Reads(build, monkeypatch)
    whole = await client.get("/runs/run-1/events", headers=NDJSON)
    assert [json.loads(line) for line in whole.content.splitlines()] == history
    assert reads.records < 2 * len(history) + 100
    reads.records = 0
    last = len(history) - 1
    rest = await client.get("/runs/run-1/events", params={"after": last - 1}, headers=NDJSON)
    assert [json.loads(line) for line in rest.content.splitlines()] == history[-1:]
    assert reads.records <= 2


async def test_a_record_in_the_place_of_an_earlier_one_is_named_by_an_audit(
    served: tuple[Build, httpx.AsyncClient],
) -> None:
    """Readers have passed it over, as if it were the one that stood there: the audit reads the log itself."""
    build, client = served
    await started(client, "run-1")
    first = next(found for found in await build.records(Topic.EVENTS) if found.headers.get("run") == b"run-1")
    other = first.value.replace(b'"id":"', b'"id":"another-', 1)
    place = Place(Topic.EVENTS, first.partition)
    url = build.application.servers.log_url
    await write_foreign(url, place, str(first.key).encode(), other, first.headers)
    await ended(build, client, "run-1")

    async def told() -> AsyncIterator[bytes]:
        for line in (await client.get("/runs/run-1/events", headers=NDJSON)).content.splitlines():
            yield line

    verification = await verify((await client.get("/runs/run-1")).json(), told())
    assert "record 0 does not follow record" in str(verification.fault)


@pytest.mark.parametrize("after", [-1, 0, 1, 2, 3, 1_000])
async def test_a_stream_begins_behind_a_sequence_and_ends_with_the_run(
    served: tuple[Build, httpx.AsyncClient], after: int
) -> None:
    build, client = served
    await started(client, "run-1", "run-2")
    query = {"after": after, "follow": "true"}
    early = asyncio.create_task(client.get("/runs/run-1/events", params=query, headers=NDJSON))
    await ended(build, client, "run-1")
    history = await build.history()
    late = await client.get("/runs/run-1/events", params=query, headers=NDJSON)
    limited = await client.get("/runs/run-1/events", params={**query, "limit": 1}, headers=NDJSON)
    told = [[json.loads(line) for line in answer.content.splitlines()] for answer in (await early, late, limited)]
    assert told == [history[after + 1 :], history[after + 1 :], history[after + 1 : after + 2]]


async def _take_timeline_back(build: Build, events: int) -> None:
    """The table stands where it stood some events ago, and nobody moves it on."""
    connection = await asyncpg.connect(build.application.servers.database_url)
    try:
        gone = await connection.fetch(
            "DELETE FROM timeline_v1 WHERE sequence > (SELECT max(sequence) - $1 FROM timeline_v1)"
            " RETURNING partition, log_offset",
            events,
        )
        first = min(gone, key=lambda row: row["log_offset"])
        moved = await connection.execute(
            "UPDATE projection_checkpoints SET next_offset = $1"
            " WHERE projection = 'timeline' AND topic = $2 AND partition = $3",
            *(first["log_offset"], Topic.EVENTS, first["partition"]),
        )
        assert (len(gone), moved) == (events, "UPDATE 1")
    finally:
        await connection.close()


@pytest.mark.parametrize("over", [True, False])
@pytest.mark.parametrize("after", [-1, 1_000])
async def test_a_followed_stream_has_no_gap_where_the_timeline_is_behind_the_runs(
    after: int, over: bool, postgres_settings: Settings
) -> None:
    async with serving(postgres_settings, services=SERVICES) as (build, client):
        await started(client, "run-1")
        if over:
            await ended(build, client, "run-1")
    without_projector = frozenset({Service.API, Service.SUPERVISOR})
    async with serving(postgres_settings, services=without_projector) as (build, client), asyncio.timeout(30):
        await _take_timeline_back(build, 3)
        query = {"after": after, "follow": "true"}
        answer = asyncio.create_task(client.get("/runs/run-1/events", params=query, headers=NDJSON))
        if not over:
            await build.log.submit(Topic.COMMANDS, [submitted("RunCancelRequested", {}, "run-1", "shop")])
        told = [json.loads(line) for line in (await answer).content.splitlines()]
        assert told == (await build.history())[after + 1 :]


async def test_a_followed_stream_ends_where_a_record_behind_the_timeline_is_not_known_as_the_run_s(
    postgres_settings: Settings,
) -> None:
    """The last one lost its header: the timeline would know whose it is."""
    async with serving(postgres_settings, services=SERVICES) as (build, client):
        await started(client, "run-1")
        await ended(build, client, "run-1")
    without_projector = frozenset({Service.API, Service.SUPERVISOR})
    async with serving(postgres_settings, services=without_projector) as (build, client), asyncio.timeout(30):
        await _take_timeline_back(build, 1)
        connection = await asyncpg.connect(build.application.servers.log_url)
        await connection.execute(
            "UPDATE autopack_log.records SET headers = (headers::jsonb - 'run')::json WHERE topic = $1",
            Topic.EVENTS,
        )
        await connection.close()
        answer = await client.get("/runs/run-1/events", params={"follow": "true"}, headers=NDJSON)
        assert [json.loads(line) for line in answer.content.splitlines()] == (await build.history())[:-1]


async def test_a_followed_stream_outlives_a_log_that_goes_away(
    served: tuple[Build, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    build, client = served
    await started(client, "run-1")
    reads = Reads(build, monkeypatch)
    async with client.stream("GET", "/runs/run-1/events", params={"follow": "true"}, headers=NDJSON) as answer:
        lines = answer.aiter_lines()
        assert json.loads(await anext(lines))["sequence"] == 0
        reads.away = True
        await client.post("/runs/run-1/cancel")
        reads.away = False
        rest = [json.loads(line)["type"] async for line in lines if line]
    assert rest[-1] == "autopack.RunFailed.v1"


async def test_output_outlives_a_log_that_goes_away(
    served: tuple[Build, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    build, client = served
    await started(client, "run-1")
    said = NewRecord("shop", b'{"lines":["hello"]}', {"run": b"run-1"})
    other = NewRecord("shop", b'{"lines":["other"]}', {"run": b"run-2"})
    async with client.stream("GET", "/runs/run-1/output") as answer, asyncio.timeout(30):
        lines = answer.aiter_lines()
        await _heard(build, lines, [other, said])
        await _disconnect_all(build)
        await _heard(build, lines, [other, said])


async def _heard(build: Build, lines: AsyncIterator[str], records: list[NewRecord]) -> None:
    """What is said again and again is heard in the end, and nothing else is."""

    async def saying() -> None:
        while True:
            try:
                await build.log.submit(Topic.OUTPUT, records)
            except LogUnavailable:
                continue
            await asyncio.sleep(0.1)

    task = asyncio.create_task(saying())
    try:
        while not (line := await anext(lines)):
            continue
        assert json.loads(line) == {"lines": ["hello"]}
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _disconnect_all(build: Build) -> None:
    """Every connection of the log breaks, as with a server that was started again."""
    connection = await asyncpg.connect(build.application.servers.log_url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'autopack log' AND datname = current_database()"
        )
    finally:
        await connection.close()


def answering() -> list[str]:
    """What runs for requests that are being answered: services that wait have tasks too, now more, now fewer."""
    running = [repr(task.get_coro()) for task in asyncio.all_tasks()]
    return [coroutine for coroutine in running if "run_asgi" in coroutine or "StreamingResponse" in coroutine]


async def test_a_client_that_goes_leaves_nothing_running(served: tuple[Build, httpx.AsyncClient]) -> None:
    build, client = served
    await started(client, "run-1")
    for path in ("/runs/run-1/output", "/runs/run-1/events?follow=true"):
        async with client.stream("GET", path) as answer:
            await anext(answer.aiter_bytes())
            assert answering()
        async with asyncio.timeout(30):
            while answering():
                await asyncio.sleep(0.02)
    assert build.log is not None


@asynccontextmanager
async def _locked(build: Build, table: str) -> AsyncIterator[None]:
    """Whoever reads the table waits."""
    connection = await asyncpg.connect(build.application.servers.database_url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def test_a_database_that_does_not_answer_is_a_503_and_holds_nobody_for_ever(
    postgres_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = frozenset({Service.API, Service.SUPERVISOR})
    async with serving(postgres_settings, services=reading) as (build, client):
        async with _locked(build, "runs_v2"), _locked(build, "projection_checkpoints"):
            monkeypatch.setattr("services.api.context.DATABASE_SECONDS", 0.5)
            answers = await asyncio.gather(
                *(client.get(path) for path in ("/runs", "/runs/run-1", "/metrics", "/health/ready") * 10)
            )
            monkeypatch.undo()
            assert {answer.status_code for answer in answers} == {503}
            assert "no answer within 0.5 s" in answers[0].json()["detail"]
            assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/runs")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 200
