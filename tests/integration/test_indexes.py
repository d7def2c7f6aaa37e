"""No statement of the log or of the tables reads a table that grows from one end to the other."""

import importlib
import inspect
import json
import pkgutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import events.log.postgres
import projections.queries
from events.catalogue import Topic
from events.log.port import NewRecord
from events.log.postgres import PostgresLog
from projections.answers import AnswerRow, command_key
from projections.catalogue import PROJECTIONS
from projections.database import Connection, Pool, speak_json
from projections.lane import Lane
from projections.queries import answers, metrics, rejections, retention, runs, timeline, waiting
from projections.queries.kept_totals import KeptTotals
from projections.rebuild import expire_rejections
from projections.run_files.keeper import BlobLost, RunFiles
from projections.status import read_status
from support.histories import ListLog, failure, recorded, success
from support.scenario import START
from support.tables import EVENTS, HISTORY_READERS, REFUSAL_READERS, REJECTIONS, start_at_zero

GROWING = {"records", "projection_heads", *(projection.table for projection in PROJECTIONS)}
WHOLE_INDEXES = {
    *("projection_heads_quarantined", "answers_v2_undecided"),
    *("attempts_v2_waiting", "runs_v2_waiting"),
}
"""Indexes of few rows, all of which are wanted."""
SUMS = ("read_totals", "count_runs", "list_metrics", "needed_digests")
"""What is over all runs by its nature: counts and sums, for monitors, and what a collection of artifacts keeps,
once in some hours. No phase waits for any of it, and no page of runs."""
STATEMENT = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


def scans(plan: dict[str, Any], limited: bool = False) -> Iterator[str]:
    """What a plan reads from end to end of a table that grows, or may have to."""
    table, kind, index = plan.get("Relation Name"), plan["Node Type"], plan.get("Index Name")
    limited = limited or kind == "Limit"
    if kind == "Seq Scan" and table in GROWING:
        yield f"Seq Scan of {table}"
    if index is not None and index.startswith(tuple(GROWING)) and "Index Cond" not in plan:
        in_order = limited and "Filter" not in plan
        if not in_order and index not in WHOLE_INDEXES:
            yield f"{kind} of all of {index}"
    for inner in plan.get("Plans", ()):
        yield from scans(inner, limited)


async def faults(connection: asyncpg.Connection, statement: str) -> list[str]:
    """The scans in the plan that fits whatever values; indexes are taken wherever there is a way to use one."""
    prepared = await connection.prepare(statement)
    values = ", ".join("NULL" for _ in prepared.get_parameters())
    await connection.execute(f"PREPARE asked AS {statement}")
    explained = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked{f'({values})' if values else ''}")
    await connection.execute("DEALLOCATE asked")
    (found,) = json.loads(explained)
    return [f"{scan}: {' '.join(statement.split())}" for scan in scans(found["Plan"])]


async def without_scans(url: str) -> asyncpg.Connection:
    settings = {"enable_seqscan": "off", "jit": "off", "plan_cache_mode": "force_generic_plan"}
    return await asyncpg.connect(url, server_settings=settings)


async def all_faults(url: str, statements: set[str]) -> list[str]:
    connection = await without_scans(url)
    try:
        return [fault for statement in sorted(statements) for fault in await faults(connection, statement)]
    finally:
        await connection.close()


# ---- the log


def statements_of(package: Any) -> set[str]:
    """Every constant of a package's modules that is a statement on the log's tables."""
    modules = [
        importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)
    ]
    values = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    return {
        v for v in values if v.lstrip().startswith(STATEMENT) and "autopack_log." in v and "to_regclass" not in v
    }


async def test_no_statement_of_the_log_scans_its_records(database_url: str) -> None:
    log = await PostgresLog.open(database_url, partition_count=2)
    await log.submit(Topic.COMMANDS, [NewRecord("shop", b"{}")])
    await log.close()
    found = statements_of(events.log.postgres)
    assert len(found) > 15, "the statements of writing, reading and membership"
    assert await all_faults(database_url, found) == []


# ---- the tables


class Listener:
    """A pool whose statements are written down."""

    def __init__(self) -> None:
        self.statements: set[str] = set()

    async def prepare(self, connection: Connection) -> None:
        await speak_json(connection)
        connection.add_query_logger(self.hear)

    def hear(self, record: asyncpg.connection.LoggedQuery) -> None:
        if record.query.lstrip().startswith(STATEMENT) and any(table in record.query for table in GROWING):
            self.statements.add(record.query)


@pytest.fixture
async def heard() -> Listener:
    return Listener()


@pytest.fixture
async def pool(database_url: str, heard: Listener) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=4, init=heard.prepare) as pool:
        await start_at_zero(pool)
        yield pool


def told() -> ListLog:
    """Two runs, and a refusal."""
    log = ListLog()
    log.write(recorded(success()))
    log.write(recorded(failure(), "run-2"))
    log.append(
        Topic.REJECTIONS, NewRecord("shop", b"{", {"reason": b"unreadable", "message": b"no", "faults": b"[]"})
    )
    return log


READ_BACK_FROM = 30


async def folded(pool: Pool, log: ListLog) -> None:
    """By two lanes one after the other: the second has to read back what the first has written."""
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS][:READ_BACK_FROM])
    await Lane(pool, EVENTS, READ_BACK_FROM, HISTORY_READERS).take(log.records[EVENTS][READ_BACK_FROM:])
    await Lane(pool, REJECTIONS, 0, REFUSAL_READERS).take(log.records[REJECTIONS])


async def test_no_statement_of_folding_scans_what_was_folded(
    database_url: str, pool: Pool, heard: Listener, tmp_path: Path
) -> None:
    log = told()
    await folded(pool, log)
    await RunFiles(pool, log, Nothing(), tmp_path, "shop").keep(0)
    await expire_rejections(pool, log)
    async with pool.acquire() as connection:
        await read_status(connection, log)
    assert len(heard.statements) > 10, "recalled, written, and read for run files"
    assert {table for table in GROWING if any(table in s for s in heard.statements)} == GROWING
    assert await all_faults(database_url, heard.statements) == []


class Nothing:
    """A store without blobs."""

    async def get(self, digest: str) -> bytes:
        raise BlobLost(digest)


async def test_no_query_scans_what_it_does_not_ask_for(database_url: str, pool: Pool, heard: Listener) -> None:
    await folded(pool, told())
    async with pool.acquire() as connection:
        asked = await ask_everything(connection)
    await all_totals(pool)
    assert asked | set(SUMS) == queries(), "every query of the package is asked here, or over all runs"
    assert len(heard.statements) > 20
    assert await all_faults(database_url, heard.statements) == []


async def all_totals(pool: Pool) -> None:
    """Sums that are kept, of runs that were never looked at, and of one that has changed since."""
    totals = KeptTotals()
    await totals.read(pool.acquire)
    await pool.execute("UPDATE projection_checkpoints SET next_offset = next_offset + 1")
    await totals.read(pool.acquire)


_NO_QUERIES = {"lent", "rows", "rows_of", "view_from", "read_figures"}


def queries() -> set[str]:
    """The queries that the package offers."""
    found = set()
    for module in pkgutil.iter_modules(projections.queries.__path__):
        members = vars(importlib.import_module(f"projections.queries.{module.name}"))
        offered = (value for value in members.values() if inspect.iscoroutinefunction(value))
        named = {one.__name__ for one in offered if one.__module__.startswith(projections.queries.__name__)}
        found |= {name for name in named if not name.startswith("_")} - _NO_QUERIES
    return found


async def ask_everything(connection: Connection) -> set[str]:
    """Every query in every way in which it can be asked; their names."""
    run_key, refused_key = runs.PageKey(START, 1), rejections.RejectionKey(START, 0, 1)
    for behind in (None, run_key):
        for project in (None, "shop"):
            for states in (None, ["DONE_SUCCESS"], ["DONE_SUCCESS", "PHASE_EXECUTION"]):
                await runs.list_runs(connection, project=project, states=states, behind=behind)
    for name in (None, "shop"):
        await runs.read_run(connection, "run-1", name)
    await runs.list_attempts(connection, "shop", "run-1", phase_id="P1", only_open=True)
    await timeline.last_offset(connection, "shop", "run-1")
    await timeline.list_events(
        connection, "shop", "run-1", from_sequence=3, phase_id="P1", names=["BuildSucceeded"]
    )
    await metrics.read_metrics(connection, "shop", "run-1")
    for refused_behind in (None, refused_key):
        for choice in ({}, {"project": "shop"}, {"run_id": "run-1"}, {"reason": "unreadable"}):
            await rejections.list_rejections(connection, **choice, behind=refused_behind)
    await rejections.read_rejection(connection, 0, 0)
    asked = (command_key("shop", "/test/run-1", "e1"), "run-1")
    [answer] = (await answers.find_answers(connection, [asked, ("another", "run-1")])).values()
    assert isinstance(answer, AnswerRow)
    await answers.runs_under(connection, "shop", "/test/run-1", "e1")
    await answers.read_offsets(connection, answers.readers_of(answer, answers.TABLES))
    await retention.open_runs(connection)
    await retention.ended_runs(connection, [("shop", "run-1")])
    await retention.check_abreast(connection, {0: 1})
    await waiting.read_waiting(connection)
    return {
        *("list_runs", "read_run", "list_attempts", "list_events", "last_offset", "read_metrics"),
        *("list_rejections", "read_rejection", "find_answers", "runs_under", "read_offsets"),
        *("open_runs", "ended_runs", "check_abreast", "read_waiting"),
    }


async def test_a_scan_would_be_found(database_url: str, pool: Pool) -> None:
    seen = await all_faults(
        database_url, {"SELECT * FROM runs_v2 WHERE builder = $1", "SELECT * FROM timeline_v1"}
    )
    assert [fault.partition(":")[0].split()[-1] for fault in seen] == ["runs_v2", "timeline_v1"]
    walking = {"SELECT * FROM runs_v2 WHERE builder = $1 ORDER BY created_at DESC, id DESC LIMIT 5"}
    assert await all_faults(database_url, walking) != []
