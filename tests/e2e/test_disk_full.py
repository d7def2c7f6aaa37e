"""Disks that are full: new work is not begun and nothing is lost, and when there is room again it goes on."""

import asyncio
import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from events.catalogue import Topic
from events.log.port import LogUnavailable, NewRecord, Place, Positions, Step
from events.log.postgres import PostgresLog
from services.compose import Service
from services.embedded.postgres import EmbeddedPostgres
from services.settings import Settings
from services.status import ServiceStatus
from support.builds import WORKERS, Build, names, repository, request, running
from support.gates import Gate, builds_claimed, until
from support.service import serving
from support.small_disk import MEGABYTE, small_disk

HERE = frozenset({Service.SUPERVISOR, Service.APPLIER})
"""Whose home is on the small disk; those with sandboxes have theirs elsewhere."""
LIMIT_SECONDS = 60


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not is_so():
            await asyncio.sleep(0.02)


def _status(build: Build, service: Service) -> ServiceStatus:
    return build.application.statuses[service]


def _is_short_of_room(status: ServiceStatus) -> bool:
    return not status.is_ready and "too little room in" in (status.trouble or "")


async def test_no_work_is_begun_on_a_full_disk_and_a_result_waits_until_it_can_be_kept(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    repo, gate = repository(tmp_path / "repo"), Gate(tmp_path)
    with small_disk(tmp_path / "small", 64) as disk:
        shared = {"artifacts": str(disk.folder / "artifacts"), "least_free_megabytes": 16}
        elsewhere = postgres_settings.model_copy(update=shared)
        here = elsewhere.model_copy(update={"home": disk.folder / "home"})
        async with (
            running(here, services=HERE) as build,
            running(elsewhere, gate.agent(), services=WORKERS - HERE) as others,
        ):
            statuses = [_status(build, Service.APPLIER), _status(others, Service.BUILDER)]
            await build.start(request(repo))
            await until(build, lambda history: builds_claimed(history) == ["P1"])
            disk.fill()
            await _until(lambda: all(map(_is_short_of_room, statuses)))
            await build.start(request(repo, run_id="run-2"))
            await until(build, lambda history: "PrepareRequested" in names(history), "run-2")
            gate.open_all()
            await _until(lambda: int(statuses[0].facts["waiting"]) > 0 and not gate.waiting())
            assert "WorkStarted" not in names(await build.history("run-2"))
            assert not {"BuildSucceeded", "BuildFailed"} & set(names(await build.history()))
            disk.make_room()
            for run_id in ("run-1", "run-2"):
                assert (await build.end(run_id))["data"]["state"] == "DONE_SUCCESS"
                history = await build.history(run_id)
                assert builds_claimed(history) == ["P1"]
                assert names(history).count("BuildSucceeded") == 1
            await _until(lambda: all(status.is_ready for status in statuses))


async def test_a_disk_that_is_found_to_be_full_in_the_midst_of_work_is_nobodys_failure(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    """Here nobody looks beforehand. The request is left open, and taken up again when there is room."""
    repo, gate = repository(tmp_path / "repo"), Gate(tmp_path)
    gate.open_all()
    with small_disk(tmp_path / "small", 64) as disk:
        shared = {"artifacts": str(tmp_path / "artifacts"), "least_free_megabytes": 0}
        elsewhere = postgres_settings.model_copy(update=shared)
        here = elsewhere.model_copy(update={"home": disk.folder / "home"})
        async with (
            running(here, services=HERE) as build,
            running(elsewhere, gate.agent(), services=WORKERS - HERE),
        ):
            disk.fill()
            with capture_logs() as logged:
                await build.start(request(repo))
                await _until(lambda: any(entry["event"] == "job failed" for entry in logged))
            assert "PrepareFailed" not in names(await build.history())
            disk.make_room()
            assert (await build.end())["data"]["state"] == "DONE_SUCCESS"
            assert names(await build.history()).count("BuildRequested") == 1


@pytest.mark.timeout(240)
async def test_a_log_whose_disk_is_full_takes_nothing_that_it_cannot_keep_and_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "small", 160) as disk:
        async with EmbeddedPostgres(disk.folder) as server:
            log = await PostgresLog.open(server.url, 1)
            writer = await log.take_over(0, "one")
            disk.fill(2 * MEGABYTE)
            taken: list[bytes] = []
            with pytest.raises(LogUnavailable):
                await _submit_without_end(log, taken)
            disk.make_room()
            await _until_there(log)
            assert await _commands(log) in (taken, [*taken, _large(len(taken))])
            await writer.close()
            writer = await log.take_over(0, "two")
            await log.submit(Topic.COMMANDS, [NewRecord("shop", b"last")])
            await writer.append(Step([NewRecord("shop", b"decided")], positions=Positions(1, 0)))
            assert (await _commands(log))[-1] == b"last"
            await log.close()


@pytest.mark.timeout(240)
async def test_builds_wait_for_a_database_without_room_and_everybody_is_told(tmp_path: Path) -> None:
    """The log and the tables in one. A start that is refused says why, and so does the API, which nobody else
    of its process tells: it has no other services beside it.
    """
    repo, gate = repository(tmp_path / "repo"), Gate(tmp_path)
    with small_disk(tmp_path / "small", 192) as disk:
        async with EmbeddedPostgres(disk.folder) as server:
            settings = Settings(home=tmp_path / "home", log=server.url, database=server.url)
            alone = settings.model_copy(update={"home": tmp_path / "api"})
            async with (
                running(settings, gate.agent(), services=WORKERS | {Service.PROJECTOR}) as build,
                serving(alone, services=frozenset({Service.API})) as (_, client),
            ):
                assert (await client.post("/runs/start", json=request(repo))).status_code == 201
                await until(build, lambda history: builds_claimed(history) == ["P1"])
                disk.fill()
                gate.open_all()
                refused = await _refused(client)
                readiness = await client.get("/health/ready")
                assert readiness.status_code == 503
                assert refused.removeprefix("the log cannot be reached: ") in readiness.json()["troubles"]["log"]
                disk.make_room()
                await _taken(client, request(repo, run_id="run-2"))
                for run_id in ("run-1", "run-2"):
                    assert (await build.end(run_id))["data"]["state"] == "DONE_SUCCESS"
                    history = await build.history(run_id)
                    assert builds_claimed(history) == ["P1"]
                    assert [int(event["sequence"]) for event in history] == list(range(len(history)))
                assert (await client.get("/health/ready")).status_code == 200


async def _refused(client: httpx.AsyncClient) -> str:
    """Ask for runs whose plans need room, for they cannot be compressed, until one is refused; what was said."""
    phases = [{"phase_id": f"P{number}", "description": os.urandom(10_000).hex()} for number in range(20)]
    async with asyncio.timeout(LIMIT_SECONDS):
        for number in itertools.count():
            asked = request("/nowhere", phases, run_id=f"large-{number}", project="large")
            answer = await client.post("/runs/start", json=asked, headers={"prefer": "wait=0"})
            if answer.status_code == 503:
                return str(answer.json()["detail"])
    raise AssertionError


async def _taken(client: httpx.AsyncClient, asked: Mapping[str, Any]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while (await client.post("/runs/start", json=asked)).status_code not in (201, 202):
            await asyncio.sleep(0.1)


def _large(number: int) -> bytes:
    return f"{number} ".encode() + b"x" * MEGABYTE


async def _submit_without_end(log: PostgresLog, taken: list[bytes]) -> None:
    while True:
        await log.submit(Topic.COMMANDS, [NewRecord("shop", _large(len(taken)))])
        taken.append(_large(len(taken)))


async def _until_there(log: PostgresLog) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            try:
                await log.check()
            except LogUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


async def _commands(log: PostgresLog) -> list[bytes]:
    found: list[bytes] = []
    while more := await log.read(Place(Topic.COMMANDS, 0), len(found)):
        found += [record.value for record in more]
    return found
