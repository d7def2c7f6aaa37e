"""A server that stands still: it is there, takes connections, and answers nothing."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import psutil

from services.embedded.cluster import read_leader
from services.embedded.layout import Layout

LIMIT_SECONDS = 30.0


@contextmanager
def standing_still(home: Path) -> Iterator[None]:
    """Stop the embedded server of a home, with every process of it, for as long as the block lasts."""
    leader = psutil.Process(read_leader(Layout.under(home).data))
    processes = [leader]
    os.kill(leader.pid, signal.SIGSTOP)
    try:
        until = monotonic() + LIMIT_SECONDS
        while leader.status() != psutil.STATUS_STOPPED:  # until then it may start one more
            assert monotonic() < until, "the server does not stop"
            sleep(0.001)
        processes += leader.children(recursive=True)
        for process in processes[1:]:
            os.kill(process.pid, signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)
