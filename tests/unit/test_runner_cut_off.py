"""Somebody has deleted events: a worker stands still in that partition, and in no other."""

import pytest

from events.catalogue import Topic
from events.families.build import BuildSucceeded
from events.log.partitions import home_partition
from events.log.port import Place
from support.stage import Doer, hasten, supervised, until, working


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


async def test_history_that_was_deleted_stops_the_worker_in_that_partition_and_in_no_other() -> None:
    worker = Doer()
    async with supervised(2) as stage, working(stage, worker) as running:
        lost = Place(Topic.EVENTS, home_partition("shop", 2))
        other = next(name for name in map(str, range(99)) if home_partition(name, 2) != lost.partition)
        await stage.start()
        await stage.start(run_id="run-2", project=other)
        await until(lambda: len(worker.begun) == 2)
        (here,) = (one for one in worker.begun if one.run_id == "run-1")
        end = len(stage.log.records[lost])
        stage.log.first[lost] = end + 1
        stage.log.wake()
        await until(lambda: worker.killed == [here.request_id])
        await until(lambda: not running.status.is_ready)
        trouble = str(running.status.trouble)
        assert f"autopack.events, partition {lost.partition}: " in trouble
        assert (
            f"no longer holds. Partition {lost.partition}, offset {end}; the first that is left is {end + 1}"
            in trouble
        )
        assert list(running.status.alarms) == [f"history-{lost.partition}"]
        worker.finish(next(n for n, one in enumerate(worker.begun) if one.run_id == "run-2"))
        await until(lambda: len(stage.history(BuildSucceeded)) == 1)
        await stage.start(run_id="run-3", project=other)
        await until(lambda: len(worker.begun) == 3)
        assert not running.status.is_ready
        assert len(set(stage.claimants())) == 1
    assert stage.log.groups["builder"] == []


async def test_history_that_was_deleted_before_a_worker_came_stops_it_in_that_partition_alone() -> None:
    worker = Doer()
    async with supervised(2) as stage:
        lost = Place(Topic.EVENTS, home_partition("shop", 2))
        other = next(name for name in map(str, range(99)) if home_partition(name, 2) != lost.partition)
        await stage.start()
        await stage.start(run_id="run-2", project=other)
        stage.log.first[lost] = 2
        async with working(stage, worker) as running:
            await until(lambda: [one.run_id for one in worker.begun] == ["run-2"])
            assert list(running.status.alarms) == [f"history-{lost.partition}"]
            assert lost not in running.runner.read_to()
