"""A job that is given up: nothing of its work goes on behind it."""

import asyncio

from events.catalogue import AnyEventData
from events.families.build import BuildRequested
from services.processes.finishing import in_any_case
from services.runner.job import Job
from services.runner.open_requests import OpenWork
from services.runner.worker import Assignment
from support.stage import Doer, supervised


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


async def _abreast() -> None:
    return


async def test_a_job_waits_for_what_its_work_finishes_however_often_it_is_cancelled() -> None:
    worker = Tidier()
    async with supervised() as stage:
        await stage.start()
        (request,) = stage.history(BuildRequested)
    work = OpenWork(request.project, request.event, offset=0)
    job = asyncio.create_task(Job(stage.log, worker, work, "one", None, lambda line: None, _abreast).run())
    await worker.tidying.wait()
    for _ in range(3):
        job.cancel()
        await asyncio.sleep(0.01)
    assert not job.done()
    worker.may_end.set()
    await asyncio.wait({job})
    assert job.cancelled()
    assert worker.tidied
