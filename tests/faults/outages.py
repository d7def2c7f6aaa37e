"""Servers that are away for a while: stopped in their tracks, or killed and started again."""

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import psutil

from servers.kafka import KafkaBroker
from services.embedded.layout import Layout

Wait = Callable[[], Awaitable[None]]
Outage = Callable[[Wait], Awaitable[None]]
"""Takes what is awaited while the server is away, if that is up to us."""


def outages_of_postgres(home: Path) -> Mapping[str, Outage]:
    """Of the server in a home, which its keeper starts again when it has died."""
    data = Layout.under(home).data

    async def stopped(wait: Wait) -> None:
        processes = _with_children(_postmaster(data))
        _send(processes, signal.SIGSTOP)
        try:
            await wait()
        finally:
            _send(processes, signal.SIGCONT)

    async def killed(_: Wait) -> None:
        os.kill(_postmaster(data), signal.SIGQUIT)  # what `pg_ctl -m immediate` sends; its keeper does not wait

    return {"Postgres away, and continued": stopped, "Postgres restarted with -m immediate": killed}


def outages_of_kafka(broker: KafkaBroker) -> Mapping[str, Outage]:
    """Of the one broker there is."""

    async def stopped(wait: Wait) -> None:
        broker.pause()
        try:
            await wait()
        finally:
            broker.resume()

    async def killed(wait: Wait) -> None:
        broker.kill()
        await wait()
        await broker.start()

    return {"broker away, and continued": stopped, "broker killed, away, and started": killed}


def _postmaster(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().splitlines()[0])


def _with_children(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        if psutil.pid_exists(pid):
            os.kill(pid, number)
