"""A helper as the command that rebuilds has it: a process that it starts, and that ends with it."""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import structlog

from projections.filling import Helper, Share
from services.processes.finishing import in_any_case
from services.rebuilding.asking import written
from services.servers import Servers
from services.settings import Settings

logger = structlog.get_logger(__name__)

MOST_HELPERS = 3
"""The database has to write what all of them fold."""
SAID_BYTES = 2_000


def helpers(settings: Settings, servers: Servers) -> Sequence[Helper]:
    """One for each processor but our own."""
    return [ProcessHelper(settings, servers) for _ in range(min(MOST_HELPERS, _processors() - 1))]


class ProcessHelper:
    """Starts a process for each share."""

    def __init__(self, settings: Settings, servers: Servers) -> None:
        self._settings = settings
        self._servers = servers

    async def fill(self, share: Share) -> None:
        """Have the share filled. What keeps the process from it is told in the log."""
        try:
            code, said = await self._filled(share)
        except Exception as error:  # whatever it is: what helps must not hinder
            code, said = None, f"{type(error).__name__}: {error}"
        if code != 0:
            logger.warning("helper ended early", projection=share.projection, code=code, said=said)

    async def _filled(self, share: Share) -> tuple[int, str]:
        """How the process ended, and what it said of that. Raises OSError and others where none can be started."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "services.rebuilding"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us, and we end it
        )
        try:
            said = await self._ask(process, share)
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            raise
        finally:
            await in_any_case(process.wait())  # only then is it certain that it writes nothing more
        return await process.wait(), said

    async def _ask(self, process: asyncio.subprocess.Process, share: Share) -> str:
        assert process.stdin is not None, "a pipe was asked for"
        assert process.stderr is not None, "a pipe was asked for"
        process.stdin.write(written(self._settings, self._servers, share))  # and stays open until it has ended
        said = await process.stderr.read()
        return said[-SAID_BYTES:].decode(errors="replace").strip()


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
