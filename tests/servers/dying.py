"""A command that dies with the process that starts it, however that one ends.

Run as a script it is what stands before the command: `dying.py PID COMMAND…`, PID being whom to die with.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def dying_with_us() -> tuple[str, ...]:
    """What stands before a command. It is its starter's thread that counts: start it from one that stays."""
    return (sys.executable, "-I", "-S", str(Path(__file__)), str(os.getpid()))


def main() -> None:
    """Ask the system for our end when our parent ends, and become the command."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() == int(sys.argv[1]):  # else it has ended before it was asked for
        os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
