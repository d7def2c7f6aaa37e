"""How a command can fail to succeed, each with the exit code that says so."""

from events.plan import Fault

SUCCESS = 0
UNSUCCESSFUL = 1
WRONG_USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130


class CommandFailure(Exception):
    """A command did not do what was asked of it."""

    exit_code = UNSUCCESSFUL


class Unsuccessful(CommandFailure):
    """The command did its work, and what it looked at is not as it should be."""


class WrongUsage(CommandFailure):
    """What was asked for cannot be meant."""

    exit_code = WRONG_USAGE


class PlanInvalid(WrongUsage):
    """The plan cannot be run; every fault is listed."""

    def __init__(self, name: str, faults: tuple[Fault, ...]) -> None:
        listed = "\n".join(f"  {fault.place}: {fault.message}" for fault in faults)
        super().__init__(f"{name} cannot be run:\n{listed}")
        self.faults = faults


class ServiceUnreachable(CommandFailure):
    """A service or server cannot be reached."""

    exit_code = UNREACHABLE


class StreamBroken(ServiceUnreachable):
    """A service had begun to answer, and broke off."""


class Interrupted(CommandFailure):
    """Somebody pressed Ctrl-C, or sent SIGTERM."""

    exit_code = INTERRUPTED
