"""The reader of the read models: SQL of its own on the tables, and the product made to fold them anew.

The rebuild goes into an empty database and an empty folder, so that what is served stays as it was found.
"""

import asyncio
import hashlib
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from faults.invariants.evidence import Checkpoint, Files, ReadModels

AUTOPACK = Path(sys.executable).with_name("autopack")
REBUILDING_SECONDS = 300.0
_TABLES = r"""
SELECT table_name FROM information_schema.tables
WHERE table_schema = current_schema() AND table_name ~ '^[a-z_]+_v\d+$' ORDER BY table_name
"""
_BOOKS = "SELECT to_regclass('projection_checkpoints') IS NOT NULL"
_CHECKPOINTS = """
SELECT projection, topic, partition, next_offset,
    CASE WHEN stopped_at IS NOT NULL THEN format('at offset %s: %s', stopped_at, error) END AS error
FROM projection_checkpoints
WHERE (projection, version) IN (SELECT projection, max(version) FROM projection_checkpoints GROUP BY projection)
ORDER BY projection, topic, partition
"""
_QUARANTINED = "SELECT project, run_id, quarantine FROM projection_heads WHERE quarantine IS NOT NULL"


async def read(database_url: str, run_files: Path, environment: Mapping[str, str]) -> ReadModels:
    """What is served, and what a rebuild makes. `environment` is what `autopack` is told of log and artifacts."""
    found = await read_served(database_url, run_files)
    async with _fresh_database(database_url) as fresh_url:
        with TemporaryDirectory(prefix="autopack-rebuild-") as folder:
            failure = await _rebuild(fresh_url, Path(folder), environment)
            rebuilt = (await served(fresh_url)).served
            rebuilt_files = await asyncio.to_thread(_files, Path(folder) / "files")
    return replace(found, rebuilt=rebuilt, rebuilt_files=rebuilt_files, failure=failure)


async def read_served(database_url: str, run_files: Path) -> ReadModels:
    """Tables and run files as they are served, and no others to compare them with."""
    return replace(await served(database_url), served_files=await asyncio.to_thread(_files, run_files))


async def served(url: str) -> ReadModels:
    """The tables of a database, as of one moment, and nothing besides."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            if not await connection.fetchval(_BOOKS):
                return ReadModels({}, {})
            tables = [row["table_name"] for row in await connection.fetch(_TABLES)]
            rows = {table: await _rows(connection, table) for table in tables}
            read_to = [Checkpoint(**row) for row in await connection.fetch(_CHECKPOINTS)]
            forked = await connection.fetch(_QUARANTINED)
    finally:
        await connection.close()
    quarantined = {(row["project"], row["run_id"]): row["quarantine"] for row in forked}
    return ReadModels(rows, {}, read_to, quarantined)


async def checkpoints(url: str) -> list[Checkpoint]:
    """How far each projection has read, and nothing besides."""
    connection = await asyncpg.connect(url)
    try:
        return [Checkpoint(**row) for row in await connection.fetch(_CHECKPOINTS)]
    finally:
        connection.terminate()  # to part politely would wait for a server that says nothing


async def _rows(connection: "asyncpg.Connection[asyncpg.Record]", table: str) -> Counter[str]:
    found = await connection.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} AS t")
    return Counter(row["row"] for row in found)


@asynccontextmanager
async def _fresh_database(url: str) -> AsyncIterator[str]:
    name = f"rebuild_{uuid4().hex}"
    await _execute(url, f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        await _execute(url, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _rebuild(url: str, folder: Path, environment: Mapping[str, str]) -> str | None:
    """Why the tables could not be made again, if so."""
    own = {
        "PATH": os.environ["PATH"],
        **environment,
        "AUTOPACK_DATABASE": url,
        "AUTOPACK_HOME": str(folder),
        "AUTOPACK_RUN_FILES": str(folder / "files"),
        "AUTOPACK_LOG_LEVEL": "warning",
    }
    process = await asyncio.create_subprocess_exec(
        *(AUTOPACK, "projections", "rebuild", "--json"),
        env=own,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(REBUILDING_SECONDS):
            said, complained = await process.communicate()
    except TimeoutError:
        return f"no end within {REBUILDING_SECONDS:g} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return None
    return f"exit code {process.returncode}: {(complained or said).decode('utf-8', 'replace')[-1000:]}"


def _files(folder: Path) -> Files:
    """Digests of all files but the keeper's own notes, whose names begin with a dot."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
