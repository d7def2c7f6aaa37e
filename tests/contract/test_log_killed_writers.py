"""Writers that are killed at any moment: nothing acknowledged is lost, nothing is doubled, no step is half."""

import asyncio
import os
import random
import signal

from contract.ground import Child, Ground, submit_to
from contract.numbered import MOST_STEPS, PARTITION, assert_whole

from events.log.port import EventLog

KILLS = 25
LONGEST_LIFE_SECONDS = 0.3


async def live(child: Child, acknowledged: set[int], life_seconds: float) -> None:
    """Let one writer live for so long, and note what it says."""
    child.tell("another")
    process_id = int((await child.line()).removeprefix("started "))
    death = asyncio.get_running_loop().call_later(life_seconds, os.kill, process_id, signal.SIGKILL)
    try:
        while not (line := await child.line()).startswith("ended"):
            assert line == "took over" or line.startswith("acknowledged "), line
            if line != "took over":
                acknowledged.add(int(line.removeprefix("acknowledged ")))
    finally:
        if death.when() > asyncio.get_running_loop().time():
            death.cancel()
    assert line == f"ended {signal.SIGKILL.value}"


async def settle_and_check(log: EventLog, acknowledged: set[int]) -> int:
    """A log may still be finishing the step at which its writer was killed: whoever takes over waits for that."""
    await (await log.take_over(PARTITION, "heir")).close()
    return await assert_whole(log, acknowledged)


async def test_no_kill_at_any_moment_loses_doubles_or_halves_a_step(ground: Ground) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice, acknowledged = random.Random(seed), set[int]()
    log = await ground.open_log()
    await submit_to(log, PARTITION, 2 * MOST_STEPS)
    child = await ground.launch("writers.py")
    for _ in range(KILLS):
        await live(child, acknowledged, dice.uniform(0, LONGEST_LIFE_SECONDS))
        await settle_and_check(log, acknowledged)
    # A writer that lives until it has written proves that the last killed one left the partition in order.
    await live(child, acknowledged, 8 * LONGEST_LIFE_SECONDS)
    steps = await settle_and_check(log, acknowledged)
    assert steps >= len(acknowledged) > KILLS
