"""A standby of a test's own Postgres, which can take its place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg

from services.embedded.binaries import locate_binaries
from services.embedded.cluster import POLL_SECONDS, start_server, stop_server, until_ready
from services.embedded.launch import choose_launch
from services.embedded.layout import DATABASE, PORT, ROLE, Layout

STARTING_SECONDS = 20.0
_WAITS_FOR_THE_OTHER = (
    "ALTER SYSTEM SET synchronous_standby_names = '*'",
    "SELECT pg_reload_conf()",
)
_TAKES_NO_WRITES = (
    "ALTER SYSTEM SET synchronous_standby_names = ''",
    "ALTER SYSTEM SET default_transaction_read_only = on",
    "SELECT pg_reload_conf()",
)


class PostgresStandby:
    """A second server that has all that the first says it has written, and takes no writes itself at first."""

    def __init__(self, primary_url: str, home: Path) -> None:
        self._primary_url = primary_url
        self._layout = Layout.under(home)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it is, and nothing else."""
        return self._layout.url()

    @property
    def url_of_both(self) -> str:
        """The first server, then this one: whoever wants to write has to find out which of them takes it."""
        (first,) = parse_qs(urlsplit(self._primary_url).query)["host"]
        hosts = quote(f"{first},{self._layout.socket_folder()}", safe="")
        return f"postgresql://{ROLE}@/{DATABASE}?host={hosts}&port={PORT},{PORT}"

    async def start(self) -> None:
        """Copy the first server, follow it, and have it wait for us with whatever it says is on disk."""
        root = self._layout.root
        root.mkdir(parents=True, mode=0o700)
        launch, binaries = await choose_launch(root), locate_binaries()
        source, goal = ("-d", self._primary_url), ("-D", self._layout.data, "--write-recovery-conf")
        copying = await launch.start(binaries / "pg_basebackup", *source, *goal, "--checkpoint=fast")
        assert await copying.wait() == 0
        self._process = await start_server(self._layout, launch, binaries)
        async with asyncio.timeout(STARTING_SECONDS):
            await until_ready(self._layout, self._process)
            await _execute(self._primary_url, *_WAITS_FOR_THE_OTHER)
            while not await _is_followed(self._primary_url):
                await asyncio.sleep(POLL_SECONDS)

    async def take_over(self) -> None:
        """Let the first server take no writes any more, from nobody, and take them here.

        It goes on answering whoever only reads, with what it had.
        """
        await _execute(self._primary_url, *_TAKES_NO_WRITES)
        await _execute(self.url, "SELECT pg_promote()")

    async def stop(self) -> None:
        """End it."""
        if self._process is not None:
            await stop_server(self._layout, self._process)
        self._layout.remove_socket_folder()


@asynccontextmanager
async def standby_of(primary_url: str, home: Path) -> AsyncIterator[PostgresStandby]:
    """A standby that follows, for as long as the block lasts."""
    standby = PostgresStandby(primary_url, home)
    try:
        await standby.start()
        yield standby
    finally:
        await standby.stop()


_FOLLOWED = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')"


async def _is_followed(url: str) -> bool:
    connection = await asyncpg.connect(url)
    try:
        return bool(await connection.fetchval(_FOLLOWED))
    finally:
        await connection.close()


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
