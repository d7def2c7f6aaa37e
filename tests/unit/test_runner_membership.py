"""The runner as a member of its group: coming, staying, being told to stop, and what it leaves to others."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from events.catalogue import Topic
from events.codec import HistoryEvent
from events.envelope import GENESIS_HASH
from events.event import Event
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.run import RunFailed
from events.families.work import WorkStarted
from events.log.partitions import home_partition
from events.log.port import NewRecord, Place
from services.runner import job as job_module
from services.runner import open_requests
from services.runner import runner as runner_module
from support.memory_log import MemoryLog
from support.scenario import START
from support.stage import SIDE_BY_SIDE, Doer, Running, hasten, supervised, until, working

HISTORY = Place(Topic.EVENTS, 0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


async def test_work_goes_on_when_its_partition_goes_to_another_member() -> None:
    first, second = Doer(), Doer()
    async with supervised(2) as stage, working(stage, first):
        await stage.start()
        await until(lambda: len(first.begun) == 1)
        async with working(stage, second):
            await until(lambda: len(stage.log.groups["builder"]) == 2)
            stage.log.groups["builder"].reverse()
            stage.log.share_out("builder")
            await stage.turns()
            assert first.killed == []
            first.finish()
            await until(lambda: bool(stage.history(BuildSucceeded)))
            assert second.begun == []
    assert len(stage.claimants()) == 1


async def test_an_expelled_member_kills_its_own_work_and_joins_again() -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker):
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        other = await stage.log.join("builder")
        stage.log.expel("builder", stage.claimants()[0])
        await until(lambda: worker.killed == [worker.begun[0].request_id])
        await other.leave()
        await until(lambda: len(worker.begun) == 2)
        assert len(set(stage.claimants())) == 2
        assert stage.history(BuildFailed) == []


async def test_whoever_is_expelled_is_not_ready_while_its_work_ends() -> None:
    worker = Doer(heeds=False)
    told: list[bool] = []
    async with supervised() as stage, working(stage, worker) as running:
        await stage.start()
        await until(lambda: len(worker.begun) == 1 and running.status.is_ready)
        member = stage.log.groups["builder"][0]
        leave = member.leave

        async def noted() -> None:
            told.append(running.status.is_ready)
            await leave()

        member.leave = noted
        stage.log.expel("builder", member.instance)
        await until(lambda: bool(told))
        assert told == [False]


async def test_where_sessions_are_short_it_is_asked_more_often_who_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is gone is replaced that much sooner."""
    monkeypatch.setattr(runner_module, "LIVING_SECONDS", 600.0)
    async with supervised() as stage, working(stage, Doer(), session_seconds=0.4) as running:
        await until(lambda: running.status.is_ready)
        (member,) = stage.log.groups["builder"]
        living, asked = member.living, list[float]()

        async def noted() -> frozenset[str]:
            asked.append(0.0)
            return await living()

        monkeypatch.setattr(member, "living", noted)
        await until(lambda: len(asked) >= 3, seconds=30)


async def test_a_new_member_does_not_begin_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the last membership knew of the living does not name the new one."""
    monkeypatch.setattr(runner_module, "LIVING_SECONDS", 0.3)
    followings = 0
    made = runner_module.Following

    def counted(*arguments: object) -> object:
        nonlocal followings
        followings += 1
        return made(*arguments)

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
        await stage.turns()
        assert not running.task.done()
        stage.log.away = False
        await until(lambda: bool(stage.history(BuildSucceeded)))
        await until(lambda: running.status.is_ready)
    assert len(worker.begun) == 1


async def test_the_only_member_of_a_group_that_was_expelled_joins_anew() -> None:
    """Whoever had expelled it has gone: nobody lives there, and nobody says so."""
    worker = Doer()
    async with supervised() as stage, working(stage, worker) as running:
        await until(lambda: running.status.is_ready)
        stage.log.expel("builder", stage.log.groups["builder"][0].instance)
        await stage.start()
        await until(lambda: len(worker.begun) == 1)


async def test_what_was_lost_with_the_log_is_submitted_again_as_soon_as_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that dies takes claims and answers along that it has acknowledged."""
    for name in ("ANSWER_AGAIN_SECONDS", "CLAIM_AGAIN_SECONDS"):
        monkeypatch.setattr(job_module, name, 600.0)
    worker = Doer()
    async with supervised() as stage, working(stage, worker) as running:
        with losing_what_the_builder_says(stage.log, monkeypatch) as lost:
            await stage.start()
            await until(lambda: len(lost) == 1)
        await _lost_and_found(stage.log, running)
        await until(lambda: len(worker.begun) == 1, 30)
        with losing_what_the_builder_says(stage.log, monkeypatch) as lost:
            worker.finish()
            await until(lambda: len(lost) == 1)
        await _lost_and_found(stage.log, running)
        await until(lambda: bool(stage.history(BuildSucceeded)), 30)
    assert len(stage.history(BuildSucceeded)) == 1


@contextmanager
def losing_what_the_builder_says(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[NewRecord]]:
    """Acknowledged, and not there."""
    lost: list[NewRecord] = []
    submit = log.submit

    async def losing(topic: Topic, records: Sequence[NewRecord]) -> list[tuple[Place, int]]:
        if not any(b'"/autopack/builder/' in record.value for record in records):
            return await submit(topic, records)
        lost.extend(records)
        return []

    with monkeypatch.context() as patch:
        patch.setattr(log, "submit", losing)
        yield lost


async def _lost_and_found(log: MemoryLog, running: Running) -> None:
    log.away = True
    log.wake()
    await until(lambda: not running.status.is_ready)
    log.away = False


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


def newer(project: str, run_id: str) -> NewRecord:
    """A request of a version that does not exist yet."""
    link = f'"project":"{project}","runid":"{run_id}","sequence":0,"prevhash":"{GENESIS_HASH}"'
    value = f'{{"id":"from-the-future",{link}}}'
    return NewRecord(project, value.encode(), {"type": b"autopack.BuildRequested.v99"})


async def test_a_record_that_cannot_be_read_stops_the_worker_in_that_partition_and_in_no_other() -> None:
    worker = Doer()
    async with supervised(2) as stage, working(stage, worker) as running:
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        home = home_partition("shop", 2)
        offset = stage.log.write(Place(Topic.EVENTS, home), newer("shop", "run-9"))
        await until(lambda: worker.killed == [worker.begun[0].request_id])
        await until(lambda: not running.status.is_ready)
        trouble = str(running.status.trouble)
        assert f"autopack.events, partition {home}, offset {offset}, event from-the-future: " in trouble
        assert "upgrade" in trouble
        assert list(running.status.alarms) == [f"history-{home}"]
        other = next(name for name in map(str, range(99)) if home_partition(name, 2) != home)
        await stage.start(run_id="run-2", project=other)
        await until(lambda: len(worker.begun) == 2)
        worker.finish(1)
        await until(lambda: len(stage.history(BuildSucceeded)) == 1)
        assert not running.status.is_ready
        assert len(worker.begun) == 2


async def test_who_can_read_a_history_again_goes_on_with_what_lay_behind_the_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that is started anew, at the same place, in a version that reads everything."""
    old, upgraded = Doer(), Doer()
    async with supervised() as stage:
        async with working(stage, old) as running:
            await stage.start()
            await until(lambda: len(old.begun) == 1)
            poison = newer("shop", "run-9")
            stage.log.write(HISTORY, poison)
            await until(lambda: not running.status.is_ready)
        read = open_requests.read_history

        def reads_all(value: bytes, type_name: str | None = None) -> HistoryEvent:
            if value != poison.value:
                return read(value, type_name)
            event = Event("from-the-future", "/future", "run-9", START, RunFailed.model_construct())
            return HistoryEvent("shop", event, 0, GENESIS_HASH)

        monkeypatch.setattr(open_requests, "read_history", reads_all)
        async with working(stage, upgraded) as running:
            await until(lambda: len(upgraded.begun) == 1)
            upgraded.finish()
            await until(lambda: len(stage.history(BuildSucceeded)) == 1)
            await until(lambda: running.status.is_ready)
    assert upgraded.begun[0].request_id == old.begun[0].request_id


async def test_a_forged_request_is_not_worked_on_and_its_run_is_an_alarm_while_others_go_on() -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker) as running:
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        asked = next(stored for stored in stage.log.records[HISTORY] if "BuildRequested" in str(stored.type_name))
        forged = re.sub(rb'"id":"[^"]+"', b'"id":"forged"', asked.value, count=1)
        stage.log.write(
            HISTORY, NewRecord("shop", forged.replace(b'"sequence":', b'"sequence":9', 1), asked.headers)
        )
        await until(lambda: worker.killed == [worker.begun[0].request_id])
        await until(lambda: "quarantine-shop-run-1" in running.status.alarms)
        await stage.start(run_id="run-2")
        await until(lambda: len(worker.begun) == 2)
        assert worker.begun[1].run_id == "run-2"
        assert running.status.is_ready


async def test_a_stopped_worker_lets_running_work_end_and_takes_no_more() -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker, capacity=1, grace_seconds=30) as running:
        await stage.start(SIDE_BY_SIDE)
        await until(lambda: len(worker.begun) == 1)
        running.stop.set()
        await stage.turns()
        assert not running.task.done()
        worker.finish()
        await asyncio.wait_for(running.task, 10)
        assert len(stage.history(BuildSucceeded)) == 1
        assert len(worker.begun) == 1


async def test_a_stopped_worker_lets_running_work_end_though_the_log_was_away_meanwhile() -> None:
    worker = Doer()
    async with supervised() as stage, working(stage, worker, grace_seconds=30) as running:
        await stage.start()
        await until(lambda: len(worker.begun) == 1)
        running.stop.set()
        stage.log.away = True
        stage.log.wake()
        await until(lambda: not running.status.is_ready)
        await stage.turns()
        assert (running.task.done(), worker.killed) == (False, [])
        worker.finish()
        await stage.turns()
        stage.log.away = False
        await asyncio.wait_for(running.task, 10)
        assert len(stage.history(BuildSucceeded)) == 1
    assert worker.killed == []


async def test_an_outage_gives_running_work_no_more_than_its_grace() -> None:
    worker = Doer()
    async with supervised() as stage:
        async with working(stage, worker, grace_seconds=0.3) as running:
            await stage.start()
            await until(lambda: len(worker.begun) == 1)
            stage.log.away = True
            stage.log.wake()
            await until(lambda: not running.status.is_ready)
            running.stop.set()
            await asyncio.wait_for(running.task, 60)
            assert worker.killed == [worker.begun[0].request_id]
        stage.log.away = False


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
