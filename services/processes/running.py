"""One child process, from its start to its certain end."""

import asyncio
import contextlib
import signal
import time
from typing import Any, assert_never

from services.processes.child import Child
from services.processes.command import Command, Completed, Ending
from services.processes.finishing import finished
from services.processes.stdin import input_file

DRAIN_SECONDS = 2.0


async def run(command: Command, stop: asyncio.Event | None = None) -> Completed:
    """Run a child to its end and say how it ended; it is reaped in any case.

    When `stop` is set, or a limit passes, its group gets SIGTERM, and SIGKILL after the grace. When the
    awaiting task is cancelled the same happens before the cancellation goes on.
    """
    told_to_stop = stop or asyncio.Event()
    cancelled = asyncio.Event()
    work = asyncio.create_task(_run(command, told_to_stop, cancelled))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        cancelled.set()
        await finished(work)
        raise


async def _run(command: Command, stop: asyncio.Event, cancelled: asyncio.Event) -> Completed:
    started = time.monotonic()
    try:
        child = await _start(command)
    except (OSError, ValueError) as error:
        return Completed(Ending.FAILED_TO_START, _start_failure(command, error))
    try:
        ending = await _ending(child, command, stop, cancelled)
        if ending is not Ending.EXITED:
            await _terminate(child, command)
    finally:
        await _clear_away(child, command)
    reason = _reason(ending, command, child.exit_code)
    duration_seconds = time.monotonic() - started
    streams = child.captured()
    return Completed(ending, reason, child.exit_code, *streams, duration_seconds=duration_seconds)


async def _start(command: Command) -> Child:
    loop = asyncio.get_running_loop()
    given = command.stdin
    with contextlib.nullcontext(given) if isinstance(given, int) else input_file(given) as stdin:
        _, child = await loop.subprocess_exec(
            lambda: Child(command),
            *command.argv,
            stdin=stdin,
            cwd=command.folder,
            env=dict(command.environment),
            start_new_session=True,
            pass_fds=command.pass_descriptors,
        )
    return child


async def _ending(child: Child, command: Command, stop: asyncio.Event, cancelled: asyncio.Event) -> Ending:
    """Wait for whatever comes first: the end, a limit, or the wish that it end."""
    wishes = [asyncio.ensure_future(event.wait()) for event in (stop, cancelled)]
    awaited: list[asyncio.Future[Any]] = [child.exited, *wishes]
    deadline = _after(time.monotonic(), command.limit_seconds)
    try:
        while True:
            idle_deadline = _after(child.heard_at, command.idle_seconds)
            remaining = min(deadline, idle_deadline) - time.monotonic()
            timeout = None if remaining == float("inf") else max(0.0, remaining)
            await asyncio.wait(awaited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if child.exited.done():
                return Ending.EXITED
            if any(wish.done() for wish in wishes):
                return Ending.STOPPED
            if time.monotonic() >= deadline:
                return Ending.TIMED_OUT
            if time.monotonic() >= _after(child.heard_at, command.idle_seconds):
                return Ending.IDLE
    finally:
        for wish in wishes:
            wish.cancel()


def _after(moment: float, seconds: float | None) -> float:
    return float("inf") if seconds is None else moment + seconds


async def _terminate(child: Child, command: Command) -> None:
    """Ask first, so that an agent can still write down what it used; insist after the grace."""
    command.send_signal(child.pid, signal.SIGTERM)
    await asyncio.wait([child.exited], timeout=command.grace_seconds)


async def _clear_away(child: Child, command: Command) -> None:
    """Kill what is left of the group, reap the child, and read what still lies in the pipes."""
    # Never through the transport: it may reap the child itself, and the exit code would be lost.
    command.send_signal(child.pid, signal.SIGKILL)
    await asyncio.wait([child.exited])
    # A grandchild in a session of its own may hold the pipes open for ever: it is not waited for.
    await asyncio.wait([child.drained], timeout=DRAIN_SECONDS)
    child.close()


def _start_failure(command: Command, error: OSError | ValueError) -> str:
    match error:
        case FileNotFoundError() if not command.folder.is_dir():
            return f"the folder {command.folder} does not exist"
        case FileNotFoundError():
            return f"no such executable: {command.argv[0]}"
        case PermissionError():
            return f"not allowed to execute {command.argv[0]}"
        case _:
            return f"cannot start {command.argv[0]}: {error}"


def _reason(ending: Ending, command: Command, exit_code: int | None) -> str:
    match ending:
        case Ending.EXITED:
            return _exit_reason(exit_code)
        case Ending.TIMED_OUT:
            return f"ran longer than {round(command.limit_seconds or 0, 1):g} s"
        case Ending.IDLE:
            return f"printed nothing for {command.idle_seconds:g} s"
        case Ending.STOPPED:
            return "was told to stop"
        case Ending.FAILED_TO_START:
            return "did not start"
        case _:
            assert_never(ending)


def _exit_reason(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was killed by signal {-exit_code}"
    return f"exited with code {exit_code}"
