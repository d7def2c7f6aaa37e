"""Writers that are stopped, replaced, and then go on as if nothing had been: they write nothing more."""

import asyncio
import os
import random
import signal

from contract.ground import Ground, submit_to
from contract.numbered import MOST_STEPS, PARTITION, assert_whole, next_number, step_of

ROUNDS = 5
LONGEST_LIFE_SECONDS = 0.3
STEPS = 10


async def test_a_stopped_writer_that_was_replaced_writes_nothing_when_it_goes_on(ground: Ground) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice, acknowledged = random.Random(seed), set[int]()
    log = await ground.open_log()
    await submit_to(log, PARTITION, 2 * MOST_STEPS)
    child = await ground.launch("writers.py")
    for _ in range(ROUNDS):
        child.tell("another")
        process_id = int((await child.line()).removeprefix("started "))
        assert await child.line() == "took over"
        try:
            await asyncio.sleep(dice.uniform(0, LONGEST_LIFE_SECONDS))  # the moment of the fault
            os.kill(process_id, signal.SIGSTOP)
            # For longer than any sign of life of it counts.
            await asyncio.sleep(1.5 * ground.silence_seconds)
            writer = await log.take_over(PARTITION, "successor")
            number = next_number(writer)
            for step in range(number, number + STEPS):
                await writer.append(step_of(step))
                acknowledged.add(step)
                if step == number + STEPS // 2:
                    os.kill(process_id, signal.SIGCONT)
            while not (line := await child.line()).startswith("ended"):
                if line.startswith("acknowledged"):
                    acknowledged.add(int(line.removeprefix("acknowledged ")))
                else:
                    assert line.partition(" ")[0] in ("fenced", "unavailable")
        except BaseException:
            os.kill(process_id, signal.SIGKILL)
            raise
        # No number was written twice, so the zombie wrote none after the successor had taken over.
        assert await assert_whole(log, acknowledged) == number + STEPS - 1
        await writer.close()
