"""The runner stops what was revoked, and says what it cost."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from events.catalogue import Topic
from events.families.base import Usage
from events.families.budget import BudgetSettled
from events.families.build import BuildFailed
from events.families.failure import FailureClass
from events.families.run import RunFailed
from events.families.work import WorkRevoked, WorkStarted
from services.runner import job as job_module
from services.runner import runner as runner_module
from services.runner.following import Following
from support.scenario import used
from support.stage import Doer, Stage, hasten, supervised, until, working


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


async def later(stage: Stage, passed: timedelta) -> None:
    """Time passes for the log, and something comes in by which the supervisor notices."""
    stage.log.now += passed
    unasked = BuildFailed(
        request_id="nobody-asked", phase_id="P1", attempt=1, failure=FailureClass.NO_CHANGE, reason="no"
    )
    await stage.say(Topic.RESULTS, unasked)


async def cancelled(stage: Stage, worker: Doer) -> tuple[BuildFailed, RunFailed]:
    """Cancel the run in which the worker is at work; its report, and how the run ended."""
    await until(lambda: len(worker.begun) == 1)
    await stage.cancel()
    await until(lambda: bool(stage.history(RunFailed)))
    report: Any = stage.history(BuildFailed)[0].event.data
    ended: Any = stage.history(RunFailed)[0].event.data
    assert report.failure is FailureClass.REVOKED
    assert len(stage.history(WorkRevoked)) == 1
    return report, ended


async def test_revoked_work_that_costs_nothing_is_killed_at_once() -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await cancelled(stage, worker)
    assert worker.killed == [worker.begun[0].request_id]


async def test_an_agent_whose_request_is_revoked_is_told_so_and_what_it_used_counts() -> None:
    worker = Doer(spends=used(7))
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        report, ended = await cancelled(stage, worker)
    assert worker.killed == []
    assert (report.reason, report.usage) == ("told to stop", used(7))
    assert (ended.tokens_used, ended.tokens_are_lower_bound) == (7, False)


async def test_an_agent_that_ends_well_just_then_is_reported_as_revoked_with_what_it_used() -> None:
    worker = Doer(spends=used(7), heeds=False)
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        worker.begun[0].spending.usage = used(7)
        await stage.cancel()
        await asyncio.wait_for(worker.begun[0].revoked.wait(), 10)
        worker.finish()
        _, ended = await cancelled(stage, worker)
    assert (ended.tokens_used, ended.tokens_are_lower_bound) == (7, False)


async def test_work_that_does_not_heed_its_revocation_is_reported_in_time_and_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_module, "LAST_WORDS_SECONDS", 0.05)
    worker = Doer(spends=used(7), heeds=False)
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        report, ended = await cancelled(stage, worker)
        await until(lambda: worker.killed == [worker.begun[0].request_id])
    assert report.usage == Usage()
    assert (ended.tokens_used, ended.tokens_are_lower_bound) == (0, True)


def deafened(monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool]) -> asyncio.Event:
    """Runners hear nothing of the history any more as soon as this holds, until the event is set."""
    hear, read = asyncio.Event(), runner_module.Following.read

    async def held(self: Following, wait_seconds: float) -> frozenset[int]:
        if when():
            await hear.wait()
        return await read(self, wait_seconds)

    monkeypatch.setattr(runner_module.Following, "read", held)
    return hear


async def test_a_claim_that_is_revoked_before_its_worker_hears_of_it_is_answered_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the run would wait for the report of somebody who never began."""
    worker = Doer()
    async with supervised() as stage:
        hear = deafened(monkeypatch, lambda: bool(stage.submitted(WorkStarted)))
        async with working(stage, worker):
            await stage.start()
            await until(lambda: bool(stage.history(WorkStarted)))
            await stage.cancel()
            await until(lambda: bool(stage.history(WorkRevoked)))
            hear.set()
            await until(lambda: bool(stage.history(RunFailed)))
        assert [type(one.event.data) for one in stage.history(BuildFailed)] == [BuildFailed]


async def test_revoked_work_that_another_instance_has_taken_over_is_left_to_that_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Doer(spends=used(7))
    async with supervised() as stage:
        hear = deafened(monkeypatch, lambda: bool(worker.begun))
        async with working(stage, worker):
            await stage.start()
            await until(lambda: len(worker.begun) == 1)
            mine = worker.begun[0]
            other = WorkStarted(
                request_id=mine.request_id, instance="other", limit_seconds=60, replaces=mine.claim_id
            )
            await stage.say(Topic.RESULTS, other)
            await until(lambda: stage.claimants()[1:] == ["other"])
            await stage.cancel()
            await until(lambda: bool(stage.history(WorkRevoked)))
            hear.set()
            await until(lambda: worker.killed == [mine.request_id])
        assert stage.submitted(BuildFailed) == []


async def test_what_revoked_work_used_is_settled_when_its_run_has_ended_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_module, "LAST_WORDS_SECONDS", 60.0)
    worker = Doer(spends=used(7), heeds=False)
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        await stage.cancel()
        await asyncio.wait_for(worker.begun[0].revoked.wait(), 10)
        await later(stage, timedelta(seconds=6))
        await until(lambda: bool(stage.history(RunFailed)))
        await stage.turns()
        worker.begun[0].spending.usage = used(7)
        worker.finish()
        await until(lambda: bool(stage.history(BudgetSettled)))
        settled: Any = stage.history(BudgetSettled)[0].event.data
    assert settled.usage == used(7)


async def test_a_deadline_revokes_what_nobody_answered_and_its_worker_stops() -> None:
    worker = Doer(limit_seconds=240)
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        await later(stage, timedelta(seconds=290))  # more would be a jump of the clock
        await until(lambda: worker.killed == [worker.begun[0].request_id])
        await until(lambda: bool(stage.history(WorkRevoked)))
