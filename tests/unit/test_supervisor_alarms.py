"""What somebody must look at: alarms that stand until their cause is gone."""

from dataclasses import replace

import pytest

from events.catalogue import Topic
from events.families.time import DeadlineKind
from events.history import PartitionState, chain
from events.log.port import NewRecord
from services.supervisor import timer as timer_module
from services.supervisor.judging import history_record
from support.memory_log import MemoryLog
from support.owning import COMMANDS, HISTORY, alarms, record, serving, told, types, types_of_runs, until
from support.scenario import Scenario, plan

pytestmark = pytest.mark.usefixtures("machine_time")


async def test_a_forked_run_is_an_alarm_until_somebody_has_looked_and_others_go_on(log: MemoryLog) -> None:
    await told(log, None, range(2))
    forked = log.records[HISTORY][1]
    spoilt = NewRecord("shop", forked.value.replace(b'"sequence":1,', b'"sequence":7,'), forked.headers)
    log.write(HISTORY, spoilt)
    async with serving(log) as (owner, _):
        await log.submit(Topic.COMMANDS, [record(plan(run_id="run-2"), "run-2")])
        await until(lambda: types(log).count("RunRequested") == 3)
        (alarm,) = alarms(owner).values()
    assert "run-0" in alarm
    assert "does not extend the chain" in alarm


def adrift() -> Scenario:
    """A run that has ended without knowing where its integration branch stands."""
    run = Scenario().started([{"phase_id": "P1"}])
    run.claimed("P1")
    run.built("P1")
    run.applied(1, "P1")
    run.green("P1")
    run.cancelled()
    run.passed(DeadlineKind.ENDING)
    run.passed(DeadlineKind.INTEGRATION)
    return run


def write_down(log: MemoryLog, run: Scenario) -> None:
    for one in chain(PartitionState().heads, "shop", run.history)[0]:
        log.write(HISTORY, history_record(one))


async def test_a_branch_that_is_not_known_is_an_alarm_that_outlives_restarts_until_the_run_is_retried(
    log: MemoryLog,
) -> None:
    write_down(log, adrift())
    for _ in range(2):
        async with serving(log) as (owner, _):
            (alarm,) = alarms(owner).values()
            assert "run 'run-1' of 'shop' has ended, and where its integration branch stands is not known" in alarm
    async with serving(log) as (owner, _):
        await log.submit(Topic.COMMANDS, [record(plan(run_id="run-2", retry_of="run-1"), "run-2")])
        await until(lambda: alarms(owner) == {})
    async with serving(log) as (owner, _):
        assert alarms(owner) == {}


async def test_the_alarm_comes_with_the_step_that_ends_the_run(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = adrift()
    last = [type(event.data).__name__ for event in run.history].index("DeadlinePassed")
    write_down(log, replace(run, history=run.history[:last]))
    log.now = run.now
    monkeypatch.setattr(timer_module, "time", log.now.timestamp)
    async with serving(log) as (owner, _):
        await until(lambda: "RunFailed" in types(log))
        await until(lambda: len(alarms(owner)) == 1)


async def test_records_that_were_deleted_before_they_were_read_are_an_alarm_and_others_are_decided(
    log: MemoryLog,
) -> None:
    await log.submit(Topic.COMMANDS, [record(plan(run_id=f"run-{n}"), f"run-{n}") for n in range(3)])
    log.first[COMMANDS] = 2
    async with serving(log) as (owner, _):
        await until(lambda: "RunRequested" in types(log))
        assert types_of_runs(log) == {"run-2"}
        (alarm,) = alarms(owner).values()
    assert alarm == (
        "autopack.commands, partition 0: offset 0 was to be read, and the first that is left is 2: "
        "records were deleted before they were read"
    )
