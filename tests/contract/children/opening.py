"""What every child does first: open the log that it was given the address of."""

import os
import sys
from importlib import import_module

from events.log.port import EventLog


async def open_given_log() -> EventLog:
    """The log that the first two arguments name: the provider, and the address."""
    name, address = sys.argv[1:3]
    log: EventLog = await import_module(f"contract.providers.{name}").open_log(address)
    return log


def say(line: str) -> None:
    """Tell the test, in one piece even if we are killed meanwhile. Ends us when it is gone."""
    os.write(1, f"{line}\n".encode())
