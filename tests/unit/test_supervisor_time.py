"""The time of a partition: deadlines by the clock of the log, whatever the machine thinks."""

from datetime import timedelta

import pytest

from events.catalogue import Topic
from events.decide.verdicts import Reason
from events.families.run import RunCancelRequested
from events.log.port import NewRecord
from services.supervisor import timer as timer_module
from support.memory_log import MemoryLog
from support.owning import COMMANDS, REJECTIONS, folded, reasons, record, serving, types, until
from support.scenario import START, plan

pytestmark = pytest.mark.usefixtures("machine_time")


async def test_a_deadline_is_submitted_when_it_is_due_and_ends_the_run(log: MemoryLog) -> None:
    async with serving(log):
        await log.submit(Topic.COMMANDS, [record(plan(max_duration_minutes=1))])
        await until(lambda: "PrepareRequested" in types(log))
        log.now = START + timedelta(seconds=59)
        await log.submit(Topic.RESULTS, [NewRecord("shop", b"junk")])
        await until(lambda: len(log.records[REJECTIONS]) == 1)
        assert "DeadlinePassed" not in types(log)
        log.now = START + timedelta(seconds=61)
        await log.submit(Topic.RESULTS, [NewRecord("shop", b"junk")])
        await until(lambda: "RunFailed" in types(log))
    assert types(log).count("DeadlinePassed") == 1


async def test_records_that_waited_for_an_hour_do_not_make_deadlines_an_hour_late(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.submit(Topic.COMMANDS, [record(plan(max_duration_minutes=1))])
    log.now = START + timedelta(hours=1)
    monkeypatch.setattr(timer_module, "time", log.now.timestamp)
    async with serving(log):
        await until(lambda: "RunFailed" in types(log))


async def test_a_machine_a_day_ahead_of_the_log_learns_the_time_and_ends_runs_when_they_are_due(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timer_module, "time", (START + timedelta(days=1)).timestamp)
    async with serving(log):
        await log.submit(Topic.COMMANDS, [record(plan(max_duration_minutes=1))])
        await until(lambda: reasons(log) == [Reason.EARLY_DEADLINE])
        assert "DeadlinePassed" not in types(log)
        log.now = START + timedelta(seconds=61)
        await log.submit(Topic.RESULTS, [NewRecord("shop", b"junk")])
        await until(lambda: "RunFailed" in types(log))


async def test_the_time_of_the_history_is_known_when_the_machine_is_a_day_behind(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(log):
        await log.submit(Topic.COMMANDS, [record(plan(max_duration_minutes=1))])
        await until(lambda: "PrepareRequested" in types(log))
        log.now = START + timedelta(hours=2)
        await log.submit(Topic.COMMANDS, [record(plan(run_id="run-2"), "run-2")])
        await until(lambda: types(log).count("RunRequested") == 2)
        first = log.records[COMMANDS][:2]
    log.records[COMMANDS][:] = first
    monkeypatch.setattr(timer_module, "time", (START - timedelta(days=1)).timestamp)
    async with serving(log):
        await until(lambda: "RunFailed" in types(log))


async def test_all_that_follow_a_run_begin_after_its_end_without_further_traffic(log: MemoryLog):
    followers = {f"run-{number}" for number in range(2, 7)}
    async with serving(log):
        await log.submit(Topic.COMMANDS, [record(plan(run_id="run-1"))])
        waiting = [record(plan(run_id=run_id, follows="run-1"), run_id) for run_id in sorted(followers)]
        await log.submit(Topic.COMMANDS, [*waiting, record(RunCancelRequested())])
        await until(lambda: types(log).count("PrepareRequested") == 6)
    assert tuple(folded(log).project("shop").line) == ()
    assert types(log).count("DeadlinePassed") == 4
