"""Servers that are away for a while: stopped in their tracks, or killed and started again."""

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from servers.kafka import KafkaBroker
from servers.kafka_cluster import KafkaCluster
from servers.kafka_node import KafkaNode
from services.embedded.layout import Layout

Wait = Callable[[], Awaitable[None]]
Outage = Callable[[Wait], Awaitable[None]]
"""Takes what is awaited while the server is away, if that is up to us."""

POSTGRES_AWAY = "Postgres away, and continued"


def outages_of_postgres(home: Path) -> Mapping[str, Outage]:
    """Of the server in a home, which its keeper starts again when it has died."""
    data = Layout.under(home).data

    async def stopped(wait: Wait) -> None:
        processes = _stop(_postmaster(data))
        try:
            await wait()
        finally:
            _send(processes, signal.SIGCONT)

    async def restarted(_: Wait) -> None:
        stop_immediately(home)

    async def killed(_: Wait) -> None:
        kill_server(home)

    return {
        POSTGRES_AWAY: stopped,
        "Postgres restarted with -m immediate": restarted,
        "Postgres killed with its keeper": killed,
    }


def stop_immediately(home: Path) -> None:
    """Do what `pg_ctl -m immediate` does. Its keeper ends with the server, and whoever uses it starts another.

    One that is going already goes.
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(_postmaster(Layout.under(home).data), signal.SIGQUIT)


def kill_server(home: Path) -> None:
    """SIGKILL the server, every process of it, and its keeper: nothing that was not written is any more.

    Whoever carries out a statement at this moment dies first, before it has done so: looking for all the others
    takes longer than a commit, and meanwhile their parent must not start anew.
    """
    postmaster = _postmaster(Layout.under(home).data)
    _send(_children(postmaster), signal.SIGKILL)
    os.kill(postmaster, signal.SIGSTOP)
    try:
        parents = psutil.Process(postmaster).parents()
        _send([parent.pid for parent in parents if str(home) in _words(parent)], signal.SIGKILL)
    finally:
        _send([*_children(postmaster), postmaster], signal.SIGKILL)


def _words(process: psutil.Process) -> str:
    """The command line of a process; nothing, where it has ended meanwhile, as backends do all the time."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


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


WRITERS = ("walwriter", "background writer", "checkpointer", "autovacuum launcher")


def keep_unwritten(home: Path) -> None:
    """Stop all processes of the server that write to disk of themselves: what nobody waits for stays in memory.

    After that the server can only be killed.
    """
    children = psutil.Process(_postmaster(Layout.under(home).data)).children()
    writers = [child.pid for child in children if any(name in _words(child) for name in WRITERS)]
    assert len(writers) == len(WRITERS), f"of the server's writers only {len(writers)} were found"
    _send(writers, signal.SIGSTOP)


def outages_of_cluster(cluster: KafkaCluster) -> Mapping[str, Outage]:
    """Of each of three brokers in turn. The next one is only taken when all are whole again."""

    def killed(node: KafkaNode) -> Outage:
        async def outage(wait: Wait) -> None:
            node.kill()
            await wait()
            await node.start()
            await cluster.until_whole()

        return outage

    def silent(node: KafkaNode) -> Outage:
        async def outage(wait: Wait) -> None:
            node.pause()
            try:
                await wait()
            finally:
                node.resume()
            await cluster.until_whole()

        return outage

    kinds = {"killed, away, and started": killed, "away, and continued": silent}
    return {
        f"broker {n} of three {kind}": of(node) for kind, of in kinds.items() for n, node in cluster.nodes.items()
    }


def _postmaster(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().splitlines()[0])


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _stop(postmaster: int) -> list[int]:
    """Stop a server: first the one that makes new processes, then those that there are."""
    _send([postmaster], signal.SIGSTOP)
    children = _children(postmaster)
    _send(children, signal.SIGSTOP)
    return [*children, postmaster]


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
