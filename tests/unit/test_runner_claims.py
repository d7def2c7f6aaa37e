"""The runner claims: before it performs what costs money, one instance at a time, and not for ever."""

import asyncio
from collections.abc import Collection

import pytest

from events.catalogue import Topic
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.work import WorkStarted
from events.log.port import Place
from services.runner import abreast as abreast_module
from services.runner import job as job_module
from services.runner import runner as runner_module
from services.runner.following import Following
from services.runner.worker import WorkReplaced
from support.memory_log import MemoryTail
from support.stage import SIDE_BY_SIDE, Doer, hasten, supervised, until, working


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


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


async def test_claims_wake_a_worker_only_while_it_has_something_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, prompts = Doer(), list[Collection[str] | None]()
    follow = MemoryTail.follow

    def noted(tail: MemoryTail, place: Place, offset: int, prompt: Collection[str] | None = None) -> None:
        prompts.append(prompt)
        follow(tail, place, offset, prompt)

    monkeypatch.setattr(MemoryTail, "follow", noted)
    async with supervised() as stage, working(stage, worker):
        await until(lambda: {"BuildRequested", "WorkRevoked"} in prompts)
        (prompt,) = [one for one in prompts if one is not None]
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        assert "WorkStarted" in prompt
        worker.finish()
        await until(lambda: bool(stage.history(BuildSucceeded)))
        await until(lambda: "WorkStarted" not in prompt)


async def test_no_more_is_performed_at_once_than_there_is_room_for() -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker, capacity=2):
        await stage.start(SIDE_BY_SIDE)
        await until(lambda: len(worker.begun) == 2)
        worker.finish(0)
        await until(lambda: len(worker.begun) >= 3)
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
        await until(lambda: len({event.data.request_id for event in stage.submitted(WorkStarted)}) == 3)


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


async def test_a_claim_of_a_living_instance_is_left_to_it_and_that_of_a_dead_one_is_replaced() -> None:
    first, second = Doer(), Doer()
    async with supervised() as stage, working(stage, first) as one:
        await stage.start()
        await until(lambda: len(first.begun) == 1)
        async with working(stage, second):
            await until(lambda: len(stage.log.groups["builder"]) == 2)
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
        assert second.begun[0].earlier_claim_ids == (first.begun[0].claim_id,)
        assert stage.claimants() == ["builder-2", "builder-3"]


async def test_work_that_stands_by_takes_no_place() -> None:
    """An integration whose target is away for hours must not keep another repository's from its turn."""
    worker = Doer()
    async with supervised() as stage, working(stage, worker, capacity=1):
        await stage.start(SIDE_BY_SIDE[:2])
        await until(lambda: len(worker.begun) == 1)
        await stage.turns()
        assert len(worker.begun) == 1
        worker.begun[0].standing_by.set()
        stage.log.wake()
        await until(lambda: len(worker.begun) == 2)


async def test_work_that_stands_by_keeps_nobody_from_stopping() -> None:
    """It is left open, and done by whoever comes next: its grace would end in nothing else."""
    worker = Doer()
    async with supervised() as stage, working(stage, worker, grace_seconds=60.0) as running:
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        worker.begun[0].standing_by.set()
        running.stop.set()
        stage.log.wake()
        await until(running.task.done, seconds=10)
        assert worker.killed == [worker.begun[0].request_id]
        assert stage.history(BuildFailed) == []


async def test_a_claim_of_an_instance_that_has_just_come_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of the living may be older than the claim that is judged by it."""
    monkeypatch.setattr(runner_module, "LIVING_SECONDS", 3_600.0)
    worker = Doer()
    async with supervised() as stage, working(stage, worker, capacity=1, session_seconds=4 * 3_600.0):
        await stage.start(SIDE_BY_SIDE[:2])
        await until(lambda: len(worker.begun) == 1)
        (first,) = stage.claimants()
        newcomer = await stage.log.join("builder")
        stage.log.groups["builder"][0].partitions = frozenset({0})
        second = stage.history(BuildRequested)[1].event.id
        await stage.say(
            Topic.RESULTS, WorkStarted(request_id=second, instance=newcomer.instance, limit_seconds=60)
        )
        await until(lambda: len(stage.history(WorkStarted)) == 2)
        worker.finish()
        await until(lambda: bool(stage.history(BuildSucceeded)))
        await stage.turns()
        assert stage.claimants() == [first, newcomer.instance]


async def test_what_another_has_taken_over_is_left_to_it_and_looked_at_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner_module, "RETRY_SECONDS", 0.02)
    worker = Doer(awaits_claim=False, error=WorkReplaced("another claim stands at the fence"))
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) >= 3)
        assert stage.history(BuildFailed) == []


async def test_work_that_ends_without_an_answer_is_begun_again_more_and_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner_module, "RETRY_SECONDS", 0.02)
    worker = Doer(awaits_claim=False, error=WorkReplaced("for ever"))
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        began = asyncio.get_running_loop().time()
        await until(lambda: len(worker.begun) >= 6)
        assert asyncio.get_running_loop().time() - began > 0.02 * (1 + 2 + 4 + 8)


async def test_whoever_was_away_hears_what_it_missed_before_it_starts_an_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped in its tracks after it had claimed, it was replaced: its agent would work for nobody."""
    awake, read, now = asyncio.Event(), Following.read, abreast_module.monotonic
    awake.set()

    async def read_awake(following: Following, wait_seconds: float) -> frozenset[int]:
        await awake.wait()
        return await read(following, wait_seconds)

    monkeypatch.setattr(Following, "read", read_awake)
    worker = Doer()
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        (assignment,) = worker.begun
        await assignment.still_ours()
        awake.clear()
        heir = WorkStarted(
            request_id=assignment.request_id, instance="heir", limit_seconds=60, replaces=assignment.claim_id
        )
        await stage.say(Topic.RESULTS, heir)
        await until(lambda: len(stage.history(WorkStarted)) == 2)
        monkeypatch.setattr(abreast_module, "monotonic", lambda: now() + 10)
        asking = asyncio.create_task(assignment.still_ours())
        await stage.turns(3)
        assert not asking.done()
        awake.set()
        with pytest.raises(WorkReplaced):
            await asking


async def test_whoever_was_away_and_not_replaced_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = abreast_module.monotonic
    worker = Doer()
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        monkeypatch.setattr(abreast_module, "monotonic", lambda: now() + 10)
        await asyncio.wait_for(worker.begun[0].still_ours(), 10)
