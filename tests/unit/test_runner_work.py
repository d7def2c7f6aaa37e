"""The runner: claims, performs, answers, and stops what nobody needs any more."""

import asyncio
from datetime import timedelta

import pytest

from events.catalogue import Topic
from events.event import Event
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.failure import FailureClass
from events.families.run import RunFailed
from events.families.work import WorkRevoked, WorkStarted
from events.log.port import LogUnavailable, NewRecord, Place
from services.runner import job as job_module
from services.runner import runner as runner_module
from services.runner.results import RememberedResults
from services.runner.submitting import submission
from services.runner.worker import WorkReplaced
from support.scenario import PATCH, START
from support.stage import SIDE_BY_SIDE, Doer, Stage, Store, supervised, until, working


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses; the conditions that tests wait for are the same."""
    monkeypatch.setattr(runner_module, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(runner_module, "LIVING_SECONDS", 0.02)


def claims(stage: Stage) -> list[str]:
    return [one.event.data.instance for one in stage.history(WorkStarted)]  # type: ignore[union-attr]


async def test_a_request_is_claimed_performed_and_answered() -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        assert [type(one.event.data) for one in stage.history()][-1] is WorkStarted
        worker.finish()
        await until(lambda: bool(stage.history(BuildSucceeded)))
        (claim,), (answer,) = stage.history(WorkStarted), stage.history(BuildSucceeded)
    assert worker.begun[0].claim_id == claim.event.id
    assert answer.event.cause_id == worker.begun[0].request_id
    assert stage.reasons() == []


async def test_nothing_begins_before_the_history_shows_the_claim() -> None:
    """Nobody judges: the claim is submitted, and that is all."""
    worker = Doer()
    async with supervised() as stage:
        await stage.start()
        log = stage.log
    async with working(stage, worker):
        await until(lambda: len(stage.submitted(WorkStarted)) == 1)
        for _ in range(3):
            log.wake()
            await asyncio.sleep(0)
        assert worker.begun == []


async def test_what_costs_nothing_begins_while_its_claim_is_on_its_way() -> None:
    worker = Doer(awaits_claim=False)
    async with supervised() as stage:
        await stage.start()
    async with working(stage, worker):
        await until(lambda: len(worker.begun) == 1)
        assert stage.history(WorkStarted) == []


async def test_no_more_is_performed_at_once_than_there_is_room_for() -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker, capacity=2):
        await stage.start(SIDE_BY_SIDE)
        await until(lambda: len(worker.begun) == 2)
        worker.finish(0)
        await until(lambda: len(worker.begun) == 3)
        await until(lambda: len(stage.history(WorkStarted)) == 3)
        asked = [one.event.id for one in stage.history(BuildRequested)]
        assert [assignment.request_id for assignment in worker.begun] == asked[:3]
        assert len(worker.begun) - len(stage.history(BuildSucceeded)) == 2


async def test_a_claim_that_is_never_granted_does_not_hold_a_place_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The request of a run in quarantine, for instance: its claims are all refused, and others wait."""
    monkeypatch.setattr(job_module, "CLAIM_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(job_module, "CLAIM_PATIENCE_SECONDS", 0.05)
    worker = Doer()
    async with supervised() as stage:
        await stage.start(SIDE_BY_SIDE)
    async with working(stage, worker, capacity=1):
        await until(lambda: len({event.data.request_id for event in stage.submitted(WorkStarted)}) == 3)  # type: ignore[union-attr]


async def test_claims_and_answers_are_submitted_again_more_and_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_module, "CLAIM_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(job_module, "ANSWER_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(job_module, "LONGEST_PAUSE_SECONDS", 0.5)
    granted, free = Doer(), Doer(awaits_claim=False, name="verifier")
    async with supervised() as stage:
        await stage.start()
    async with working(stage, granted), working(stage, free):
        await until(lambda: len(free.begun) == 1)
        free.finish()
        began = asyncio.get_running_loop().time()
        await until(lambda: len(stage.submitted(WorkStarted)) >= 7 and len(stage.submitted(BuildSucceeded)) >= 6)
        assert asyncio.get_running_loop().time() - began > 0.3
    assert len({event.id for event in stage.submitted(WorkStarted)}) == 2


async def test_an_instance_claims_under_the_same_id_when_it_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of its claims is read first grants the work; the others are repetitions, and no rejections."""
    monkeypatch.setattr(job_module, "CLAIM_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(job_module, "CLAIM_PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(runner_module, "RETRY_SECONDS", 0.01)
    worker = Doer()
    async with supervised() as stage:
        await stage.start()
    async with working(stage, worker):
        await until(lambda: len(stage.submitted(WorkStarted)) > 5)
    assert len({event.id for event in stage.submitted(WorkStarted)}) == 1


async def test_a_cancelled_run_kills_its_work_and_what_it_used_is_reported() -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        await stage.cancel()
        await until(lambda: bool(stage.history(RunFailed)))
        (report,) = stage.history(BuildFailed)
        assert report.event.data.failure is FailureClass.REVOKED  # type: ignore[union-attr]
        assert worker.killed == [worker.begun[0].request_id]
        assert len(stage.history(WorkRevoked)) == 1


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


async def test_a_claim_of_a_living_instance_is_left_to_it_and_that_of_a_dead_one_is_replaced() -> None:
    first, second = Doer(), Doer()
    async with supervised() as stage, working(stage, first) as one:
        await stage.start()
        await until(lambda: len(first.begun) == 1)
        async with working(stage, second):
            stage.log.groups["builder"].reverse()
            stage.log.share_out("builder")
            await until(lambda: stage.log.groups["builder"][0].partitions == {0})
            for _ in range(20):
                stage.log.wake()
                await asyncio.sleep(0.005)
            assert second.begun == []
            assert first.killed == []
            one.stop.set()
            stage.log.wake()
            await until(lambda: len(second.begun) == 1)
        assert first.killed == [first.begun[0].request_id]
        assert second.begun[0].replaced_claim_id == first.begun[0].claim_id
        assert claims(stage) == ["builder-2", "builder-3"]


async def turns(stage: Stage, count: int = 20) -> None:
    """Let a runner look around so often."""
    for _ in range(count):
        stage.log.wake()
        await asyncio.sleep(0.005)


async def test_a_claim_of_an_instance_that_has_just_come_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of the living may be older than the claim that is judged by it."""
    monkeypatch.setattr(runner_module, "LIVING_SECONDS", 3_600.0)
    worker = Doer()
    async with supervised() as stage, working(stage, worker, capacity=1):
        await stage.start(SIDE_BY_SIDE[:2])
        await until(lambda: len(worker.begun) == 1)
        (first,) = claims(stage)
        newcomer = await stage.log.join("builder")
        stage.log.groups["builder"][0].partitions = frozenset({0})
        second = stage.history(BuildRequested)[1].event.id
        await stage.say(
            Topic.RESULTS, WorkStarted(request_id=second, instance=newcomer.instance, limit_seconds=60)
        )
        await until(lambda: len(stage.history(WorkStarted)) == 2)
        worker.finish()
        await until(lambda: bool(stage.history(BuildSucceeded)))
        await turns(stage)
        assert claims(stage) == [first, newcomer.instance]


async def test_work_goes_on_when_its_partition_goes_to_another_member() -> None:
    first, second = Doer(), Doer()
    async with supervised(2) as stage, working(stage, first):
        await stage.start()
        await until(lambda: len(first.begun) == 1)
        async with working(stage, second):
            await until(lambda: len(stage.log.groups["builder"]) == 2)
            stage.log.groups["builder"].reverse()
            stage.log.share_out("builder")
            await turns(stage)
            assert first.killed == []
            first.finish()
            await until(lambda: bool(stage.history(BuildSucceeded)))
            assert second.begun == []
    assert len(claims(stage)) == 1


async def test_an_expelled_member_kills_its_own_work_and_joins_again() -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        other = await stage.log.join("builder")
        stage.log.expel("builder", claims(stage)[0])
        await until(lambda: worker.killed == [worker.begun[0].request_id])
        await other.leave()
        await until(lambda: len(worker.begun) == 2)
        assert len(set(claims(stage))) == 2
        assert stage.history(BuildFailed) == []


async def test_a_new_member_does_not_begin_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the last membership knew of the living does not name the new one."""
    monkeypatch.setattr(runner_module, "LIVING_SECONDS", 0.3)
    followings = 0
    made = runner_module.Following

    def counted(*arguments: object) -> object:
        nonlocal followings
        followings += 1
        return made(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(runner_module, "Following", counted)
    worker = Doer()
    async with supervised() as stage, working(stage, worker) as running:
        await until(lambda: running.status.is_ready)
        other = await stage.log.join("builder")
        stage.log.away = True
        stage.log.expel("builder", stage.log.groups["builder"][0].instance)
        await until(lambda: not running.status.is_ready)
        stage.log.away = False
        await until(lambda: len(stage.log.groups["builder"]) == 2)
        await other.leave()
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        assert followings <= 4


async def test_a_log_that_is_away_is_waited_for_and_running_work_goes_on() -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker) as running:
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        stage.log.away = True
        stage.log.wake()
        await until(lambda: not running.status.is_ready)
        worker.finish()
        await turns(stage)
        assert not running.task.done()
        stage.log.away = False
        await until(lambda: bool(stage.history(BuildSucceeded)))
        await until(lambda: running.status.is_ready)
    assert len(worker.begun) == 1


async def test_a_fault_of_ours_is_told_and_the_worker_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker) as running:
        await until(lambda: running.status.is_ready)
        whole = runner_module.Following.read

        async def broken(*_: object) -> object:
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr(runner_module.Following, "read", broken)
        await until(lambda: "a fault of ours" in str(running.status.trouble))
        assert list(running.status.alarms.values()) == ["RuntimeError: a fault of ours"]
        monkeypatch.setattr(runner_module.Following, "read", whole)
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        await until(lambda: running.status.is_ready)
        assert running.status.alarms == {}


async def test_a_history_that_cannot_be_read_stops_the_worker_and_leaves_its_work_to_others() -> None:
    first, second = Doer(), Doer()
    async with supervised() as stage, working(stage, first) as one:
        await stage.start()
        await until(lambda: len(first.begun) == 1)
        newer = NewRecord("shop", b"{}", {"type": b"autopack.BuildRequested.v99"})
        stage.log.write(Place(Topic.EVENTS, 0), newer)
        await until(lambda: first.killed == [first.begun[0].request_id])
        await until(lambda: stage.log.groups["builder"] == [])
        assert "upgrade" in str(one.status.trouble)
        assert not one.task.done()
    assert second.begun == []


async def test_a_stopped_worker_lets_running_work_end_and_takes_no_more() -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker, capacity=1, grace_seconds=30) as running:
        await stage.start(SIDE_BY_SIDE)
        await until(lambda: len(worker.begun) == 1)
        running.stop.set()
        await turns(stage)
        assert not running.task.done()
        worker.finish()
        await asyncio.wait_for(running.task, 10)
        assert len(stage.history(BuildSucceeded)) == 1
        assert len(worker.begun) == 1


async def test_behind_the_grace_work_is_killed_and_left_open() -> None:
    worker = Doer()
    async with supervised() as stage:
        async with working(stage, worker, grace_seconds=0.05) as running:
            await stage.start()
            await until(lambda: len(worker.begun) == 1)
            running.stop.set()
            await asyncio.wait_for(running.task, 10)
        assert worker.killed == [worker.begun[0].request_id]
        assert stage.history(BuildFailed) == []
        assert stage.log.groups["builder"] == []


async def test_a_stopped_worker_does_not_begin_what_was_not_granted_yet() -> None:
    worker = Doer()
    async with supervised() as stage:
        await stage.start()
    async with working(stage, worker, grace_seconds=30) as running:
        await until(lambda: len(stage.submitted(WorkStarted)) == 1)
        running.stop.set()
        await asyncio.wait_for(running.task, 10)
    assert worker.begun == []


def answer_to(request_id: str, files: tuple[str, ...]) -> BuildSucceeded:
    return BuildSucceeded(request_id=request_id, phase_id="P1", attempt=1, patch=PATCH, files=files)


async def test_a_kept_result_is_submitted_again_and_nobody_is_paid_twice() -> None:
    """An earlier instance kept it and died before the history had it."""
    store, worker = Store(), Doer()
    async with supervised() as stage:
        await stage.start()
        (asked,) = stage.history(BuildRequested)
        kept = Event("kept", "/autopack/builder/dead", "run-1", START, answer_to(asked.event.id, ("a.py",)))
        await RememberedResults(store, "builder").keep("shop", asked.event.id, submission(kept, "shop"))
        async with working(stage, worker, store):
            await until(lambda: bool(stage.history(BuildSucceeded)))
        assert stage.history(BuildSucceeded)[0].event.id == "kept"
    assert (worker.begun, stage.history(WorkStarted)) == ([], [])


async def test_a_result_is_kept_before_it_is_submitted_and_the_first_one_stays() -> None:
    store, worker = Store(), Doer()
    async with supervised() as stage, working(stage, worker, store):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        request_id = worker.begun[0].request_id
        other = Event("other", "/autopack/builder/other", "run-1", START, answer_to(request_id, ("b.py",)))
        await RememberedResults(store, "builder").keep("shop", request_id, submission(other, "shop"))
        worker.finish()
        await until(lambda: bool(stage.history(BuildSucceeded)))
    assert stage.history(BuildSucceeded)[0].event.data.files == ("b.py",)  # type: ignore[union-attr]


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
        async with working(stage, Doer(), store):
            await until(lambda: bool(stage.history(BuildSucceeded)))


async def _refusing(topic: Topic, records: object) -> None:
    raise LogUnavailable("no place for records")


async def test_a_worker_that_fails_is_tried_again_and_then_says_so() -> None:
    worker = Doer(error=RuntimeError("it fell over"))
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: bool(stage.history(BuildFailed)))
        failed = stage.history(BuildFailed)[0].event.data
    assert len(worker.begun) >= job_module.TRIES
    assert (failed.failure, failed.reason) == (FailureClass.INTERNAL, "RuntimeError: it fell over")  # type: ignore[union-attr]


async def test_work_past_its_limit_is_stopped_and_reported_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "LIMIT_MARGIN_SECONDS", 0.0)
    worker = Doer(limit_seconds=0.05)
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: bool(stage.history(BuildFailed)))
        failed = stage.history(BuildFailed)[0].event.data
    assert failed.failure is FailureClass.TIMEOUT  # type: ignore[union-attr]
    assert "0.05 seconds" in failed.reason  # type: ignore[union-attr]
    assert worker.begun[0].request_id in worker.killed


async def test_a_time_limit_of_something_else_is_not_taken_for_the_works_own() -> None:
    worker = Doer(error=TimeoutError("a server did not answer"))
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: bool(stage.history(BuildFailed)))
        failed = stage.history(BuildFailed)[0].event.data
    assert (failed.failure, failed.reason) == (FailureClass.INTERNAL, "TimeoutError: a server did not answer")  # type: ignore[union-attr]


async def test_what_another_has_taken_over_is_left_to_it_and_looked_at_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner_module, "RETRY_SECONDS", 0.02)
    worker = Doer(awaits_claim=False, error=WorkReplaced("another claim stands at the fence"))
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) == 3)
        assert stage.history(BuildFailed) == []


async def test_work_that_ends_without_an_answer_is_begun_again_more_and_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner_module, "RETRY_SECONDS", 0.02)
    worker = Doer(awaits_claim=False, error=WorkReplaced("for ever"))
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        began = asyncio.get_running_loop().time()
        await until(lambda: len(worker.begun) == 6)
        assert asyncio.get_running_loop().time() - began > 0.02 * (1 + 2 + 4 + 8)


async def test_what_is_committed_lets_the_next_owner_find_every_open_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner_module, "COMMIT_SECONDS", 0.0)
    worker = Doer()
    async with supervised() as stage:
        async with working(stage, worker, capacity=1):
            await stage.start(SIDE_BY_SIDE[:2])
            first, second = (one.event.id for one in stage.history(BuildRequested))
            offsets = [r.offset for r in stage.log.records[Place(Topic.EVENTS, 0)] if b"BuildRequested" in r.value]
            await until(lambda: len(worker.begun) == 1)
            await until(lambda: stage.log.committed.get(("builder", 0)) == offsets[0])
            worker.finish(0)
            await until(lambda: len(worker.begun) == 2)
            await until(lambda: stage.log.committed["builder", 0] == offsets[1])
        other = Doer()
        async with working(stage, other):
            await until(lambda: [a.request_id for a in other.begun] == [second])
    assert worker.begun[0].request_id == first


async def test_a_deadline_revokes_what_nobody_answered_and_its_worker_stops() -> None:
    worker = Doer(limit_seconds=3_600)
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        stage.log.now += timedelta(hours=2)
        await stage.say(Topic.RESULTS, answer_to("nobody-asked", ()))
        await until(lambda: worker.killed == [worker.begun[0].request_id])
        await until(lambda: bool(stage.history(WorkRevoked)))
