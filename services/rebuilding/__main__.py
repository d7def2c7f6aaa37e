"""The process of a helper: reads what it is asked for, fills it, and ends. It ends as well when nobody waits."""

import asyncio
import os
import sys
import threading

from projections.catalogue import projection_named
from projections.database import open_pool
from projections.filling import FILLERS, Fresh, fill
from services.garbage import spare_what_stays
from services.logs import open_log
from services.rebuilding.asking import Asked, read
from services.servers import Servers
from services.settings import Settings


def main() -> None:
    """Fill a share. Exit code 1, with the reason on stderr, where not all of it could be filled."""
    asked = read(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_those_who_asked, daemon=True).start()
    try:
        asyncio.run(_filled(asked))
    except Exception as error:  # whatever it is, it is met again by those who asked, who can tell what it means
        sys.exit(f"{type(error).__name__}: {error}")


async def _filled(asked: Asked) -> None:
    settings, servers = Settings(**asked.settings), Servers(asked.log_url, asked.database_url)
    log = await open_log(settings, servers)
    spare_what_stays()
    try:
        pool = await open_pool(servers.database_url, most_connections=FILLERS)
        try:
            async with pool.acquire() as connection:
                share = asked.share
                fresh = Fresh(connection, log, projection_named(share.projection))
                await connection.execute(fresh.path)
                await fill(fresh, pool, share.targets)
                await connection.execute("RESET search_path")
        finally:
            await pool.close()
    finally:
        await log.close()


def _end_with_those_who_asked() -> None:
    """Their end of our standard input is closed when they die, however that comes about."""
    while os.read(sys.stdin.fileno(), 1):  # not by the buffer, which could not be let go of when we end first
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
