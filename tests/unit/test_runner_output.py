"""Live output: the last lines get through, and nothing that goes wrong with them matters."""

import asyncio

import orjson
import pytest

from events.catalogue import Topic
from events.log.port import LogUnavailable, NewRecord, Place
from services.runner import output as module
from services.runner.output import LINE_LENGTH_LIMIT, LINES_KEPT, LiveOutput
from services.runner.pauses import LONGEST_SECONDS, Pauses
from support.memory_log import MemoryLog
from support.stage import until

PLACE = Place(Topic.OUTPUT, 0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.01)


def lines(log: MemoryLog) -> list[str]:
    return [line for record in log.records[PLACE] for line in orjson.loads(record.value)["lines"]]


async def test_lines_are_shown_and_of_a_flood_only_the_last_ones() -> None:
    log = MemoryLog()
    output = LiveOutput(log, "builder")
    say = output.channel("shop", "run-1", "P1", "r1")
    for number in range(10_000):
        say(f"{number} " + "x" * 10_000)
    task = asyncio.create_task(output.run())
    await until(lambda: bool(lines(log)))
    task.cancel()
    assert [int(line.split()[0]) for line in lines(log)] == list(range(10_000 - LINES_KEPT, 10_000))
    assert max(map(len, lines(log))) == LINE_LENGTH_LIMIT


@pytest.mark.parametrize("error", [LogUnavailable("away"), RuntimeError("a fault of ours")])
async def test_lines_that_do_not_get_through_are_gone_and_the_next_ones_are_shown(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MemoryLog()
    output = LiveOutput(log, "builder")
    say = output.channel("shop", "run-1", "P1", "r1")
    task = asyncio.create_task(output.run())
    tried = asyncio.Event()

    async def failing(topic: Topic, records: list[NewRecord]) -> None:
        tried.set()
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(log, "submit", failing)
        say("one")
        await asyncio.wait_for(tried.wait(), 10)
    say("two")
    await until(lambda: lines(log) == ["two"])
    task.cancel()


def test_a_pause_doubles_each_time_and_has_an_end() -> None:
    now = [0.0]
    pauses = Pauses(5.0, lambda: now[0])
    lengths = []
    for _ in range(9):
        pauses.begin("r1")
        began = now[0]
        while pauses.holds("r1"):
            now[0] += 2.5
        lengths.append(now[0] - began)
    assert lengths[:3] == [5.0, 10.0, 20.0]
    assert lengths[-1] == LONGEST_SECONDS
    pauses.forget_all_but(set())
    assert not pauses.holds("r1")
    pauses.begin("r1")
    now[0] += 5.0
    assert not pauses.holds("r1")
