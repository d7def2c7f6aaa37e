"""A writer of one partition in a process of its own, to be stopped and killed.

It goes on where the positions say that its predecessor had read to, and says on its standard output what it
has done: `taken <number>`, `acknowledged <number>` after each step, and in the end why it stopped.
"""

import asyncio
import sys

from events.log.kafka import KafkaLog
from events.log.port import Fenced, LogUnavailable, NewRecord, PartitionWriter, Positions, Step

PROJECT = "p"


def step_of(number: int) -> Step:
    """The step of a number: some events, now and then with rejections, or rejections alone."""
    events = [_record(f"event {number} {part} of {number % 4 + 1}") for part in range(number % 4 + 1)]
    rejections = [_record(f"rejection {number} {part} of 2") for part in range(2)]
    positions = Positions(number + 1, 2 * number)
    match number % 5:
        case 3:
            return Step((), rejections, (), positions)
        case 4:
            return Step(events, rejections, (), positions)
        case _:
            return Step(events, (), (), positions)


def _record(text: str) -> NewRecord:
    return NewRecord(PROJECT, text.encode(), {"type": b"test"})


async def run(bootstrap: str, prefix: str, partition_count: int) -> str:
    """Write until that fails, and return how."""
    log = await KafkaLog.open(bootstrap, partition_count, topic_prefix=prefix)
    try:
        return await _write(await log.take_over(0, "child"))
    finally:
        await log.close()


async def _write(writer: PartitionWriter) -> str:
    number = writer.positions.commands
    print(f"taken {number}", flush=True)
    while True:
        try:
            await writer.append(step_of(number))
        except (Fenced, LogUnavailable) as failure:
            return type(failure).__name__
        print(f"acknowledged {number}", flush=True)
        number += 1


if __name__ == "__main__":
    print(asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3]))), flush=True)
