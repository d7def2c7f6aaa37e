"""A job that is given up: nothing of its work goes on behind it."""

import asyncio
from typing import Any

import pytest

from events.catalogue import AnyEventData
from events.families.build import BuildFailed, BuildRequested
from events.families.failure import FailureClass
from services.processes.finishing import in_any_case
from services.runner import job as job_module
from services.runner.job import Job
from services.runner.open_requests import OpenWork
from services.runner.worker import Assignment
from support.stage import Doer, hasten, supervised, until, working


class Tidier(Doer):
    """Leaves nothing half done."""

    def __init__(self) -> None:
        super().__init__(awaits_claim=False)
        self.tidying, self.may_end, self.tidied = asyncio.Event(), asyncio.Event(), False

    async def perform(self, assignment: Assignment) -> AnyEventData:
        await in_any_case(self._tidy())
        raise AssertionError("nobody gave it up")

    async def _tidy(self) -> None:
        self.tidying.set()
        await self.may_end.wait()
        self.tidied = True


class Stumbler(Doer):
    """Cannot tidy up when it is ended."""

    async def perform(self, assignment: Assignment) -> AnyEventData:
        try:
            return await super().perform(assignment)
        finally:
            raise OSError(5, "Input/output error")


async def _abreast() -> None:
    return


async def job_of(worker: Doer) -> asyncio.Task[None]:
    """A job of this worker, begun."""
    async with supervised() as stage:
        await stage.start()
        (request,) = stage.history(BuildRequested)
    work = OpenWork(request.project, request.event, offset=0)
    return asyncio.create_task(Job(stage.log, worker, work, "one", None, lambda line: None, _abreast).run())


async def test_a_job_waits_for_what_its_work_finishes_however_often_it_is_cancelled() -> None:
    worker = Tidier()
    job = await job_of(worker)
    await worker.tidying.wait()
    for _ in range(3):
        job.cancel()
        await asyncio.sleep(0.01)
    assert not job.done()
    worker.may_end.set()
    await asyncio.wait({job})
    assert job.cancelled()
    assert worker.tidied


async def test_work_that_stumbles_while_it_is_being_ended_is_not_begun_again() -> None:
    worker = Stumbler(awaits_claim=False)
    job = await job_of(worker)
    await until(lambda: len(worker.begun) == 1)
    job.cancel()
    await asyncio.wait({job}, timeout=10)
    assert job.cancelled()
    assert (len(worker.begun), len(worker.killed)) == (1, 1)


async def test_revoked_work_that_stumbles_over_its_end_is_reported_as_revoked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hasten(monkeypatch)
    worker = Stumbler()
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        await stage.cancel()
        await until(lambda: bool(stage.history(BuildFailed)))
    (report,) = [one.event.data for one in stage.history(BuildFailed)]
    assert report.failure is FailureClass.REVOKED
    assert len(worker.begun) == 1


async def test_work_that_stumbles_over_its_limit_is_reported_as_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit ends it by a cancellation of its own, behind which no other stands."""
    hasten(monkeypatch)
    monkeypatch.setattr(job_module, "LIMIT_MARGIN_SECONDS", 0.0)
    worker = Stumbler(limit_seconds=0.05)
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: bool(stage.history(BuildFailed)))
        report: Any = stage.history(BuildFailed)[0].event.data
    assert report.failure is FailureClass.TIMEOUT
