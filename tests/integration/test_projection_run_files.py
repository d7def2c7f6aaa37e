"""The files of a run: what is in them, where they lie, and that they are whole."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from projections.attempts import AttemptRow
from projections.catalogue import RUN_FILES
from projections.database import Connection, Pool, nothing_to_reset, speak_json
from projections.lane import Lane
from projections.phases import PHASES, PhaseRow
from projections.projector import Projector
from projections.queries.reading import rows_of
from projections.run_files.folder import read_manifest, write_files
from projections.run_files.keeper import FilesStopped, RunFiles
from projections.run_files.pages import phase_page
from support.histories import ListLog, failure, recorded, success
from support.projecting import Heard, passed, running, until
from support.run_files import Blobs, BlobsAway, BlobsHung, files_of, fold, visible
from support.scenario import MENDED, Scenario, plan
from support.tables import EVENTS, HISTORY_READERS, tables_at_zero


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / ".autonomous_runs"


async def test_a_run_that_succeeded_has_its_pages_patches_and_strategy(pool: Pool, root: Path) -> None:
    log = ListLog()
    log.write(recorded(success()))
    await fold(pool, log)
    await RunFiles(pool, log, Blobs(), root, "shop").keep(0)
    folder = root / "run-1"
    assert visible(folder) == {
        "run_summary.md",
        "tiers/tier_00_T1.md",
        "tiers/tier_01_T2.md",
        "phases/phase_00_P1.md",
        "phases/phase_01_P2.md",
        "patch_P1.diff",
        "patch_P2.diff",
        "project_implementation_strategy_v1.json",
    }
    page = (folder / "run_summary.md").read_text()
    assert page.startswith("# Run Summary: run-1\n\n- **State:** DONE_SUCCESS\n- **Safety Profile:** normal\n")
    for title in ("Budgets", "Issues", "Cleanliness", "Execution"):
        assert f"\n## {title}\n" in page
    assert "- **Tokens:** at least 190 of 5000000" in page
    assert (folder / "patch_P2.diff").read_bytes() == b"diff one\ndiff two\n"
    phase = (folder / "phases/phase_00_P1.md").read_text()
    assert phase.startswith("# Phase Summary: P1 - phase 0\n\n- **State:** COMPLETE\n- **Phase ID:** P1\n")
    assert "- **Task Category:** N/A" in phase
    assert "violation: symlink in out: points out of the tree" in phase
    assert "assert 1 == 2" in phase
    strategy = json.loads((folder / "project_implementation_strategy_v1.json").read_text())
    assert [p["phase_id"] for p in strategy["strategy"]["phases"]] == ["P1", "P2"]


async def test_a_run_that_failed_has_an_incident_pack_with_its_exact_records(pool: Pool, root: Path) -> None:
    log = ListLog(gap=2)
    mine, other = recorded(failure()), recorded(success(), "other")
    mixed = [record for pair in zip(mine, other, strict=False) for record in pair]
    log.write([*mixed, *mine[len(other) :], *other[len(mine) :]])
    await fold(pool, log)
    await RunFiles(pool, log, Blobs(), root, "shop").keep(0)
    pack = root / "run-1" / "incident"
    assert (pack / "events.ndjson").read_bytes() == b"".join(record.value + b"\n" for record in mine)
    page = (pack / "incident.md").read_text()
    assert "- **Reason:** phase P1: refused" in page
    assert "violation: protected in .github/workflows/x.yml: protected" in page
    assert "P2: SKIPPED" in page
    assert not (root / "other" / "incident").exists()


async def test_files_grow_with_the_run_and_a_rebuild_gives_the_same(
    pool: Pool, root: Path, tmp_path: Path
) -> None:
    log, blobs = ListLog(), Blobs()
    log.write(recorded(success()))
    files = RunFiles(pool, log, blobs, root, "shop")
    await fold(pool, log, 1)
    await files.keep(0)
    assert visible(root / "run-1") == {"run_summary.md"}
    assert "PLAN_BOOTSTRAP" in (root / "run-1/run_summary.md").read_text()
    for number in range(2, len(log.records[EVENTS]) + 1):
        await fold(pool, log, number)
        await files.keep(0)
    again = tmp_path / "again"
    await pool.execute("DELETE FROM projection_checkpoints WHERE projection = 'run_files'")
    await RunFiles(pool, log, Blobs(), again, "shop").keep(0)
    assert files_of(again / "run-1") == files_of(root / "run-1")
    assert len(blobs.fetched) < 8


async def test_a_look_takes_one_statement_and_two_more_for_a_run_that_has_changed(
    database_url: str, pool: Pool, root: Path
) -> None:
    said: list[str] = []

    async def heard(connection: Connection) -> None:
        await speak_json(connection)
        connection.add_query_logger(lambda query: said.append(query.query))

    log = ListLog()
    log.write(recorded(success()))
    settings = {"timezone": "Asia/Kolkata"}
    async with asyncpg.create_pool(
        database_url, min_size=1, init=heard, reset=nothing_to_reset, server_settings=settings
    ) as own:
        files = RunFiles(own, log, Blobs(), root, "shop")
        await fold(pool, log, 5)
        await files.keep(0)
        said.clear()
        await files.keep(0)
        assert len(said) == 1
        said.clear()
        await fold(pool, log)
        await files.keep(0)
        assert len(said) == 3
    assert "- **Created:** 2026-01-01T00:00:00+00:00\n" in (root / "run-1/run_summary.md").read_text()


async def test_a_run_has_its_folder_looked_at_in_one_thread_and_written_in_one(
    pool: Pool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_over: list[str] = []
    to_thread = asyncio.to_thread

    async def counted(function: Callable[..., Any], *arguments: Any) -> Any:
        handed_over.append(function.__name__)
        return await to_thread(function, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", counted)
    log = ListLog()
    log.write(recorded(success()))
    await fold(pool, log)
    await RunFiles(pool, log, Blobs(), root, "shop").keep(0)
    assert handed_over == ["look", "write_files"]


async def test_a_page_is_made_only_where_the_rows_have_changed_that_it_is_made_from(
    pool: Pool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def noted(phase: PhaseRow, builds: int, attempts: Iterable[AttemptRow]) -> str:
        made.append(phase.phase_id)
        return phase_page(phase, builds, attempts)

    monkeypatch.setattr("projections.run_files.documents.phase_page", noted)
    log = ListLog()
    log.write(recorded(success()))
    files = RunFiles(pool, log, Blobs(), root, "shop")
    await fold(pool, log, 30)
    await files.keep(0)
    assert made == ["P1", "P2"]
    for number in range(31, len(log.records[EVENTS]) + 1):
        await fold(pool, log, number)
        await files.keep(0)
    assert made.count("P1") < made.count("P2")


async def test_others_come_to_their_turn_while_many_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.queries.reading.ROWS_AT_A_STRETCH", 2)
    done: list[str] = []

    def read(text: str) -> str:
        done.append(text)
        return text

    async def other() -> None:
        done.append("other")

    async with asyncio.TaskGroup() as group:
        group.create_task(rows_of(read, ["1", "2", "3", "4", "5"]))
        group.create_task(other())
    assert done == ["1", "2", "other", "3", "4", "5"]


async def test_a_folder_that_knows_more_is_not_written_by_who_knows_less(pool: Pool, root: Path) -> None:
    log = ListLog()
    log.write(recorded(success()))
    await fold(pool, log, 10)
    files = RunFiles(pool, log, Blobs(), root, "shop")
    await files.keep(0)
    old = files_of(root / "run-1")
    manifest = read_manifest(root / "run-1")
    await fold(pool, log)
    await files.keep(0)
    new = files_of(root / "run-1")
    assert new != old
    write_files(root / "run-1", {"run_summary.md": b"stale"}, manifest)
    assert files_of(root / "run-1") == new
    assert await files_checkpoint(pool) == len(log.records[EVENTS])


async def test_a_lost_patch_costs_its_own_file_alone(pool: Pool, root: Path) -> None:
    log, blobs = ListLog(), Blobs()
    del blobs.content[MENDED.digest]
    log.write(recorded(success()))
    await fold(pool, log)
    await RunFiles(pool, log, blobs, root, "shop").keep(0)
    assert "patch_P1.diff" in visible(root / "run-1")
    assert "patch_P2.diff" not in visible(root / "run-1")


async def test_files_wait_for_a_store_that_is_away_and_lose_nothing(pool: Pool, root: Path) -> None:
    log = ListLog()
    log.write(recorded(failure()))
    await fold(pool, log)
    with pytest.raises(FilesStopped, match=r"patch_P1\.diff: ConnectionError: the store is away"):
        await RunFiles(pool, log, BlobsAway(), root, "shop").keep(0)
    await RunFiles(pool, log, Blobs(), root, "shop").keep(0)
    assert "patch_P1.diff" in visible(root / "run-1")


async def test_a_store_that_does_not_answer_is_an_outage(
    pool: Pool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.run_files.keeper.BLOB_SECONDS", 0.1)
    log = ListLog()
    log.write(recorded(failure()))
    await fold(pool, log)
    with pytest.raises(FilesStopped, match=r"patch_P1\.diff: TimeoutError"):
        await RunFiles(pool, log, BlobsHung(), root, "shop").keep(0)


async def test_files_wait_for_the_table_that_stands_furthest_behind(
    pool: Pool, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.run_files.keeper.RUNS_AT_ONCE", 1)
    log = ListLog()
    log.write(recorded(success()))
    records = log.records[EVENTS]
    behind = [PHASES]
    others = [p for p in HISTORY_READERS if p not in behind]
    await Lane(pool, EVENTS, 0, behind).take(records[:20])
    await Lane(pool, EVENTS, 0, others).take(records)
    files = RunFiles(pool, log, Blobs(), root, "shop")
    await files.keep(0)
    await files.write("shop", "run-1")
    assert not root.exists()
    await Lane(pool, EVENTS, 20, behind).take(records[20:])
    await files.keep(0)
    await RunFiles(pool, log, Blobs(), tmp_path / "right", "shop").rebuild(0)
    assert files_of(root / "run-1") == files_of(tmp_path / "right" / "run-1")


async def test_a_rebuild_brings_deleted_damaged_and_stale_files_of_an_ended_run_back(
    pool: Pool, root: Path
) -> None:
    log = ListLog()
    log.write([*recorded(success()), *recorded(failure(), "other")])
    await fold(pool, log)
    files = RunFiles(pool, log, Blobs(), root, "shop")
    await files.keep(0)
    right = files_of(root)
    (root / "run-1/patch_P1.diff").unlink()
    (root / "run-1/run_summary.md").write_bytes(b"damaged")
    (root / "other/incident/events.ndjson").write_bytes(b"stale")
    assert await files.rebuild(0) == 2
    assert files_of(root) == right
    assert await files_checkpoint(pool) == len(log.records[EVENTS])


async def test_a_rebuild_of_the_files_leaves_the_checkpoint_of_another_log(pool: Pool, root: Path) -> None:
    log = ListLog()
    log.write(recorded(success()))
    await fold(pool, log)
    files = RunFiles(pool, log, Blobs(), root, "shop")
    await files.keep(0)
    await pool.execute("UPDATE projection_checkpoints SET next_offset = 900 WHERE projection = 'run_files'")
    await files.rebuild(0)
    assert await files_checkpoint(pool) == len(log.records[EVENTS])


async def files_checkpoint(pool: Pool) -> int:
    found: int = await pool.fetchval(
        "SELECT next_offset FROM projection_checkpoints WHERE projection = $1", RUN_FILES.name
    )
    return found


async def test_many_runs_are_written_however_few_at_once(
    pool: Pool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.run_files.keeper.RUNS_AT_ONCE", 2)
    log = ListLog()
    for number in range(5):
        log.write(recorded(Scenario().started(), f"run-{number}"))
    await fold(pool, log)
    await RunFiles(pool, log, Blobs(), root, "shop").keep(0)
    assert {path.name for path in root.iterdir()} == {f"run-{number}" for number in range(5)}


async def test_the_projector_writes_files_as_the_tables_move(pool: Pool, root: Path) -> None:
    log, stop = ListLog(), asyncio.Event()
    files = RunFiles(pool, log, Blobs(), root, "shop")
    task = asyncio.create_task(Projector(pool, log, Silent(), files).run(stop))
    try:
        log.write(recorded(success()))
        summary = root / "run-1" / "run_summary.md"
        async with asyncio.timeout(15):
            while not summary.exists() or "DONE_SUCCESS" not in summary.read_text():
                await asyncio.sleep(0.01)
    finally:
        stop.set()
        await task


class Silent:
    def ready(self) -> None: ...

    def unavailable(self, trouble: str) -> None: ...

    def alarm(self, key: str, message: str) -> None: ...

    def clear(self, key: str) -> None: ...

    def hinder(self, key: str, trouble: str) -> None: ...

    def unhinder(self, key: str) -> None: ...


async def test_files_that_cannot_be_written_stop_and_say_so(pool: Pool, root: Path) -> None:
    log = ListLog()
    log.write(recorded(success()))
    await fold(pool, log)
    await pool.execute("UPDATE phases_v1 SET patches = '[{\"nothing\": 1}]'")
    with pytest.raises(FilesStopped, match="run shop/run-1: KeyError"):
        await RunFiles(pool, log, Blobs(), root, "shop").keep(0)
    error = await pool.fetchval("SELECT error FROM projection_checkpoints WHERE projection = 'run_files'")
    assert error == "run shop/run-1: KeyError: 'digest'"


async def test_foreign_text_stays_text_in_the_pages(pool: Pool, root: Path) -> None:
    phases = [{"phase_id": "P1", "name": "a\n# b <script>", "description": "```\n# not a heading\n```"}]
    tiers = [{"tier_id": "../T", "tier_index": 0, "name": "../../x"}]
    story = Scenario()
    story.say(plan([{**phases[0], "tier_id": "../T"}], tiers=tiers))
    story.prepared()
    log = ListLog()
    log.write(recorded(story))
    await fold(pool, log)
    await RunFiles(pool, log, Blobs(), root, "shop").keep(0)
    page = (root / "run-1/phases/phase_00_P1.md").read_text()
    assert page.startswith("# Phase Summary: P1 - a # b &lt;script>\n")
    assert "````text\n```\n# not a heading\n```\n````" in page
    assert "tiers/tier_00_.._.._x.md" in visible(root / "run-1")
    assert {path.name for path in root.iterdir()} == {"run-1"}


async def test_a_projector_that_is_stopped_leaves_the_files_of_all_that_its_tables_know(
    pool: Pool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.projector.FILES_PACE_SECONDS", 3600.0)
    log, history = ListLog(), recorded(success())
    async with running(Projector(pool, log, Heard(), RunFiles(pool, log, Blobs(), root, "shop"))):
        log.write(history)
        await until(lambda: passed(pool, "runs", len(history)))
    assert "DONE_SUCCESS" in (root / "run-1/run_summary.md").read_text()


async def test_files_that_stand_still_in_one_partition_hold_up_no_other(pool: Pool, root: Path) -> None:
    kept: list[int] = []

    class OneStops(RunFiles):
        async def keep(self, partition: int) -> None:
            if partition == 0:
                raise FilesStopped("nothing can be written here")
            kept.append(partition)

    log = ListLog()
    files = OneStops(pool, log, Blobs(), root, "shop")
    projector = Projector(pool, log, Silent(), files)
    with pytest.raises(FilesStopped, match="nothing can be written here"):
        await projector._keep_files_of({0, 1, 2})
    assert kept == [1, 2]
