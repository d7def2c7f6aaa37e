"""Writers that are killed, stopped and replaced: nothing acknowledged lost, none doubled, no half step."""

import asyncio
import random
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from events.log.port import Fenced, Positions, Step
from servers import kafka_writer
from servers.kafka import KafkaBroker
from support.kafka_log import EVENTS, PARTITIONS, REJECTIONS, fresh_prefix, opened_log, record, texts

DEADLINE_SECONDS = 100
KILLS = 8


@asynccontextmanager
async def child(broker: KafkaBroker, prefix: str) -> AsyncIterator[Process]:
    """A writer in a process of its own, gone in the end."""
    program = Path(kafka_writer.__file__)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), broker.bootstrap, prefix, str(PARTITIONS), stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def rest(process: Process) -> list[str]:
    """What a process says until it ends; its last line may have been cut short."""
    assert process.stdout is not None
    return [
        said for said in (await process.stdout.read()).decode().splitlines(keepends=True) if said.endswith("\n")
    ]


def last_acknowledged(said: list[str]) -> int:
    return max((int(number) for number in re.findall(r"^acknowledged (\d+)$", "".join(said), re.M)), default=-1)


@pytest.mark.parametrize("seed", [1, 2])
async def test_steps_of_a_writer_killed_at_any_moment_are_there_once_and_whole(
    kafka_broker: KafkaBroker, seed: int
) -> None:
    chance = random.Random(seed)
    prefix = fresh_prefix()
    acknowledged = -1
    async with asyncio.timeout(DEADLINE_SECONDS), opened_log(kafka_broker.bootstrap, prefix) as log:
        for kill in range(KILLS):
            async with child(kafka_broker, prefix) as process:
                begins = await line(process)
                assert re.fullmatch(r"taken \d+", begins), begins
                assert int(begins.split()[1]) > acknowledged, f"seed {seed}: an acknowledged step is taken again"
                await asyncio.sleep(chance.uniform(0.0, 0.3))  # the moment is what is tried, not waited for
                if kill == KILLS - 1 and acknowledged < 0:
                    acknowledged = last_acknowledged([await line(process)])
                process.kill()
                acknowledged = max(acknowledged, last_acknowledged(await rest(process)))
        writer = await log.take_over(0, "the last")
        taken = writer.positions.commands
        assert taken > acknowledged >= 0, f"seed {seed}"
        steps = [kafka_writer.step_of(number) for number in range(taken)]
        history = [event.value.decode() for step in steps for event in step.events]
        rejected = [rejection.value.decode() for step in steps for rejection in step.rejections]
        assert await texts(log, EVENTS) == history, f"seed {seed}"
        assert await texts(log, REJECTIONS) == rejected, f"seed {seed}"


async def test_a_writer_that_was_stopped_and_replaced_writes_nothing_when_it_goes_on(
    kafka_broker: KafkaBroker,
) -> None:
    prefix = fresh_prefix()
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        opened_log(kafka_broker.bootstrap, prefix) as log,
        child(kafka_broker, prefix) as process,
    ):
        while await line(process) != "acknowledged 20":
            pass
        process.send_signal(signal.SIGSTOP)
        writer = await log.take_over(0, "replacement")
        before = await texts(log, EVENTS)
        end = await writer.append(Step([record("the replacement's")], positions=Positions(999, 999)))
        process.send_signal(signal.SIGCONT)
        said = await rest(process)
        assert said[-1].strip() in ("Fenced", "LogUnavailable")
        assert await texts(log, EVENTS) == [*before, "the replacement's"]
        assert await writer.append(Step([record("again")], positions=Positions(1000, 999))) > end
        assert (await texts(log, EVENTS))[-2:] == ["the replacement's", "again"]


async def test_a_replaced_writer_is_fenced_at_its_next_step(kafka_broker: KafkaBroker) -> None:
    async with opened_log(kafka_broker.bootstrap, fresh_prefix()) as log:
        first = await log.take_over(0, "one")
        await first.append(Step([record("first's")], positions=Positions(1, 0)))
        second = await log.take_over(0, "two")
        with pytest.raises(Fenced):
            await first.append(Step([record("too late")], positions=Positions(2, 0)))
        await second.append(Step([record("second's")], positions=Positions(2, 0)))
        assert await texts(log, EVENTS) == ["first's", "second's"]


async def test_a_cancelled_step_is_whole_or_not_there(kafka_broker: KafkaBroker) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), opened_log(kafka_broker.bootstrap, fresh_prefix()) as log:
        for number in range(1, 8):
            writer = await log.take_over(0, "one")
            parts = [record(f"{number}"), record(f"{number} again")]
            appending = asyncio.create_task(writer.append(Step(parts, positions=Positions(number, 0))))
            for _ in range(4 * number):
                await asyncio.sleep(0)
            appending.cancel()
            await asyncio.wait({appending})
            taken = (await log.take_over(0, "two")).positions.commands
            assert (await texts(log, EVENTS))[-2:] == ([f"{taken}", f"{taken} again"] if taken else [])
