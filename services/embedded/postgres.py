"""The embedded Postgres, as a process uses it: one server a home, there while anybody needs it."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

import services
from services.embedded.layout import Layout
from services.embedded.locks import Lock, Mode, is_held_exclusively, try_lock

MOST_STARTS = 3
POLL_SECONDS = 0.02
WATCH_SECONDS = 1.0
LOG_TAIL_BYTES = 2_000

logger = structlog.get_logger(__name__)


class ServerDidNotStart(Exception):
    """The embedded Postgres did not start."""


class EmbeddedPostgres:
    """A share in the Postgres server of one home.

    The first that needs the server starts it, the last stops it. While the share is held, a server that died
    is started again: the address stays the same, and connections have to be made anew.
    """

    def __init__(self, home: Path, *, start_limit_seconds: float = 60.0) -> None:
        self._layout = Layout.under(home)
        self._start_limit_seconds = start_limit_seconds
        self._share: Lock | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """The address of the server, `postgresql://…`, as asyncpg takes it."""
        return self._layout.url()

    async def start(self) -> None:
        """Take a share, and return when the server takes connections. Raises ServerDidNotStart."""
        self._layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            async with asyncio.timeout(self._start_limit_seconds):
                self._share = await _taken(self._layout.users)
                await _ensure_serving(self._layout)
        except BaseException as fault:
            await self.release()
            if isinstance(fault, TimeoutError):
                raise _failure(self._layout, f"within {self._start_limit_seconds:g} s") from None
            raise
        self._watch = asyncio.create_task(self._keep_serving())

    async def release(self) -> None:
        """Give the share back. For the last one this returns when the server has stopped."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        if self._share is not None:
            self._share.release()
            self._share = None
            await _stopped_if_unused(self._layout)

    async def __aenter__(self) -> Self:
        """Take a share."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        await self.release()

    async def _keep_serving(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await _ensure_serving(self._layout)
            except (ServerDidNotStart, OSError) as fault:
                await logger.aerror("the embedded Postgres is down", reason=str(fault))
            except Exception:
                # A fault of ours, or a machine that is full: whoever ends here starts no server again.
                await logger.aexception("the embedded Postgres could not be looked after")


async def _ensure_serving(layout: Layout) -> None:
    """Start a keeper where there is none, and return when the server takes connections.

    A keeper may be killed before it serves, so one that has gone is not yet a server that cannot be started.
    """
    starts = 0
    while not is_held_exclusively(layout.serving):
        lock = try_lock(layout.keeper, Mode.EXCLUSIVE)
        if lock is not None and starts == MOST_STARTS:
            lock.release()
            raise _failure(layout, "")
        if lock is not None:
            starts += 1
            await _start_keeper(layout, lock)
        await asyncio.sleep(POLL_SECONDS)


async def _start_keeper(layout: Layout, lock: Lock) -> None:
    """Start a keeper and hand it its lock. It forks away at once, so no child stays to be waited for."""
    with contextlib.suppress(FileNotFoundError):
        layout.log.replace(layout.log.with_suffix(".log.1"))
    # From the folder that we were loaded from, whatever the current one is and holds.
    origin = Path(str(services.__file__)).parent.parent
    try:
        with layout.log.open("xb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services.embedded.keeper", str(layout.root), str(lock.descriptor)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=origin,
                pass_fds=(lock.descriptor,),
                start_new_session=True,
            )
            await process.wait()
    finally:
        lock.release()


async def _taken(users: Path) -> Lock:
    """Take a share; while a keeper is stopping the server, this waits until it has."""
    while (share := try_lock(users, Mode.SHARED)) is None:  # noqa: ASYNC110 - locks send no event
        await asyncio.sleep(POLL_SECONDS)
    return share


async def _stopped_if_unused(layout: Layout) -> None:
    """Return at once where others use the server, else when its keeper has ended."""
    while not _in_use(layout.users) and is_held_exclusively(layout.keeper):  # noqa: ASYNC110 - as above
        await asyncio.sleep(POLL_SECONDS)


def _in_use(users: Path) -> bool:
    """Tell whether any user holds a share. A keeper that is stopping the server is none."""
    if (alone := try_lock(users, Mode.EXCLUSIVE)) is not None:
        alone.release()
        return False
    return not is_held_exclusively(users)


def _failure(layout: Layout, circumstance: str) -> ServerDidNotStart:
    summary = f"The embedded Postgres did not start {circumstance}".rstrip()
    return ServerDidNotStart(f"{summary}. The end of its log ({layout.log}):\n{_tail(layout.log)}")


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except FileNotFoundError:
        return "(no log)"
