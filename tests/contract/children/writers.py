"""Writes numbered steps until it is killed or fenced, in a new process for each line that it is told.

Says `started <pid>`, `took over`, `acknowledged <number>`, `fenced`, `unavailable <why>`, `ended <status>`.
"""

import asyncio
import os
import sys
from importlib import import_module

from contract.numbered import PARTITION, next_number, step_of
from opening import open_given_log, say

from events.log.port import Fenced, LogUnavailable


async def write() -> None:
    """Take over, go on behind the last step, and write one after another."""
    log = await open_given_log()
    writer = await log.take_over(PARTITION, f"process-{os.getpid()}")
    say("took over")
    number = next_number(writer)
    while True:
        await writer.append(step_of(number))
        say(f"acknowledged {number}")
        number += 1


def work() -> None:
    """Write until it ends, and say why."""
    try:
        asyncio.run(write())
    except Fenced:
        say("fenced")
    except LogUnavailable as error:
        say(f"unavailable {error!r}")


def main() -> None:
    """Everything is loaded before the first process is forked away, so that many can be had in a short time."""
    import_module(f"contract.providers.{sys.argv[1]}")
    for _ in sys.stdin:
        process_id = os.fork()
        if process_id == 0:
            try:
                say(f"started {os.getpid()}")
                work()
            finally:
                os._exit(0)
        _, status = os.waitpid(process_id, 0)
        say(f"ended {status}")


main()
