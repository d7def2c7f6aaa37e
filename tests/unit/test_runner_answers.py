"""The runner answers: once, with what was kept, and also where the work came to no good end."""

import asyncio
from typing import Any

import pytest

from events.catalogue import Topic
from events.event import Event
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.failure import FailureClass
from events.families.run import RunFailed
from events.families.work import WorkStarted
from events.log.port import LogUnavailable
from services.runner import job as job_module
from services.runner.results import RememberedResults
from services.runner.submitting import submission
from support.scenario import PATCH, START, used
from support.stage import Doer, Store, hasten, supervised, until, working


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


async def test_an_answer_by_somebody_else_ends_the_work_without_another() -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        done = worker.begun[0]
        failed = BuildFailed(
            request_id=done.request_id, phase_id="P1", attempt=1, failure=FailureClass.NO_CHANGE, reason="no"
        )
        await stage.say(Topic.RESULTS, failed)
        await until(lambda: worker.killed == [done.request_id])
        await until(lambda: len(worker.begun) == 2)
        assert len(stage.history(BuildFailed)) == 1


def answer_to(request_id: str, files: tuple[str, ...]) -> BuildSucceeded:
    return BuildSucceeded(request_id=request_id, phase_id="P1", attempt=1, patch=PATCH, files=files)


async def test_a_kept_result_is_submitted_again_and_nobody_is_paid_twice() -> None:
    """An earlier instance had claimed, kept it, and died before the history had it."""
    store, worker = Store(), Doer()
    async with supervised() as stage:
        await stage.start()
        (asked,) = stage.history(BuildRequested)
        await stage.say(Topic.RESULTS, WorkStarted(request_id=asked.event.id, instance="dead", limit_seconds=60.0))
        kept = Event("kept", "/autopack/builder/dead", "run-1", START, answer_to(asked.event.id, ("a.py",)))
        await RememberedResults(store, "builder").keep("shop", asked.event.id, submission(kept, "shop"))
        async with working(stage, worker, store):
            await until(lambda: bool(stage.history(BuildSucceeded)))
        assert stage.history(BuildSucceeded)[0].event.id == "kept"
        assert (worker.begun, stage.claimants()) == ([], ["dead"])


async def test_a_verdict_that_was_kept_before_its_claim_came_through_is_submitted_again() -> None:
    """Work that does not wait for its claim may have been done without one in the history."""
    store, worker = Store(), Doer(awaits_claim=False)
    async with supervised() as stage:
        await stage.start()
        (asked,) = stage.history(BuildRequested)
        kept = Event("kept", "/autopack/builder/dead", "run-1", START, answer_to(asked.event.id, ("a.py",)))
        await RememberedResults(store, "builder").keep("shop", asked.event.id, submission(kept, "shop"))
        async with working(stage, worker, store):
            await until(lambda: bool(stage.history(BuildSucceeded)))
        assert stage.history(BuildSucceeded)[0].event.id == "kept"
    assert worker.begun == []


class HungStore(Store):
    """A store that does not answer."""

    async def read(self, name: str) -> bytes | None:
        await asyncio.Event().wait()
        return None


@pytest.mark.parametrize("awaits_claim", [True, False])
async def test_a_store_that_does_not_answer_keeps_no_place_and_burns_no_attempt(
    awaits_claim: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "RECALLING_SECONDS", 0.05)
    worker = Doer(awaits_claim=awaits_claim)
    async with supervised() as stage:
        await stage.start()
        (asked,) = stage.history(BuildRequested)
        await stage.say(Topic.RESULTS, WorkStarted(request_id=asked.event.id, instance="dead", limit_seconds=60.0))
        async with working(stage, worker, HungStore(), capacity=1) as running:
            await until(lambda: running.status.facts.get("running") == 1)
            await until(lambda: running.status.facts.get("running") == 0)
            assert (worker.begun, stage.claimants()) == ([], ["dead"])


async def test_of_two_results_that_are_kept_the_first_one_stays() -> None:
    results = RememberedResults(Store(), "builder")
    for name in ("first", "second"):
        event = Event(name, "/autopack/builder/one", "run-1", START, answer_to("request", ("a.py",)))
        await results.keep("shop", "request", submission(event, "shop"))
    found = await results.recall("shop", "request")
    assert found is not None
    assert b'"first"' in found.value


class FullStore(Store):
    """A store that waits for room on its disk, which does not come."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = self.given_up = 0

    async def create(self, name: str, data: bytes) -> bool:
        self.asked += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up += 1
        return True


async def test_a_result_goes_to_the_history_while_it_still_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """And once it is there, nobody waits any more."""
    monkeypatch.setattr(job_module, "KEEPING_SECONDS", 0.0)
    store, worker = FullStore(), Doer()
    async with supervised() as stage, working(stage, worker, store):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        worker.finish()
        await until(lambda: bool(stage.history(BuildSucceeded)))
        await until(lambda: (store.asked, store.given_up) == (1, 1))


async def test_a_result_that_cannot_be_kept_is_submitted_all_the_same() -> None:
    """The agent has been paid: a full disk must not cost its work."""
    store, worker = Store(), Doer()
    async with supervised() as stage, working(stage, worker, store):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        store.error = OSError(28, "No space left on device")
        worker.finish()
        await until(lambda: bool(stage.history(BuildSucceeded)))
    assert len(worker.begun) == 1


async def test_a_result_is_kept_even_while_its_claim_does_not_get_through(monkeypatch: pytest.MonkeyPatch) -> None:
    store, worker = Store(), Doer(awaits_claim=False)
    async with supervised() as stage:
        await stage.start()
        with monkeypatch.context() as patch:
            patch.setattr(stage.log, "submit", _refusing)
            async with working(stage, worker, store):
                await until(lambda: len(worker.begun) == 1)
                worker.finish()
                await until(lambda: bool(store.values))
        async with working(stage, Doer(awaits_claim=False), store):
            await until(lambda: bool(stage.history(BuildSucceeded)))


async def _refusing(topic: Topic, records: object) -> None:
    raise LogUnavailable("no place for records")


async def test_a_worker_that_fails_is_tried_again_and_then_says_so() -> None:
    worker = Doer(error=RuntimeError("it fell over"))
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: bool(stage.history(BuildFailed)))
        failed = stage.history(BuildFailed)[0].event.data
    assert len(worker.begun) == job_module.TRIES
    assert (failed.failure, failed.reason) == (FailureClass.INTERNAL, "RuntimeError: it fell over")


async def test_an_agent_that_was_paid_is_not_paid_again_for_a_fault_of_ours() -> None:
    worker = Doer(error=RuntimeError("it fell over"), spends=used(7))
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: bool(stage.history(RunFailed)))
        failed: Any = stage.history(BuildFailed)[0].event.data
        ended: Any = stage.history(RunFailed)[0].event.data
    assert len(worker.begun) == 1
    assert (failed.failure, failed.reason) == (FailureClass.INTERNAL, "RuntimeError: it fell over")
    assert (failed.usage, ended.tokens_used) == (used(7), 7)


async def test_work_past_its_limit_is_stopped_and_reported_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "LIMIT_MARGIN_SECONDS", 0.0)
    worker = Doer(limit_seconds=0.05)
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: bool(stage.history(BuildFailed)))
        failed = stage.history(BuildFailed)[0].event.data
    assert failed.failure is FailureClass.TIMEOUT
    assert "0.05 seconds" in failed.reason
    assert worker.begun[0].request_id in worker.killed


async def test_a_time_limit_of_something_else_is_not_taken_for_the_works_own() -> None:
    worker = Doer(error=TimeoutError("a server did not answer"))
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: bool(stage.history(BuildFailed)))
        failed = stage.history(BuildFailed)[0].event.data
    assert (failed.failure, failed.reason) == (FailureClass.INTERNAL, "TimeoutError: a server did not answer")
