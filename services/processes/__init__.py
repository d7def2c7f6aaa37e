"""Child processes that always end: limits on time and output, secrets kept out of what they print."""

from services.processes.command import Command, Completed, Ending, signal_group
from services.processes.output import Captured
from services.processes.redaction import Redactor
from services.processes.running import run

__all__ = ["Captured", "Command", "Completed", "Ending", "Redactor", "run", "signal_group"]
