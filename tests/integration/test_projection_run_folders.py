"""A run's folder: what is put into it, by whom, and what a power cut leaves of it."""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from projections.database import Pool
from projections.queries.runs import read_run
from projections.queries.summary import summarize
from projections.run_files.folder import LAYOUT, Manifest, look, read_manifest, this_boot, write_files
from projections.run_files.keeper import RunFiles
from projections.run_files.names import file_name, phase_file, run_folder, tier_file
from support.histories import ListLog, failure, recorded, success
from support.run_files import Blobs, files_of, fold, visible
from support.scenario import Scenario
from support.tables import EVENTS, tables_at_zero


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / ".autonomous_runs"


async def test_runs_of_the_default_project_lie_where_the_first_version_had_them(root: Path) -> None:
    assert run_folder(root, "Autopack", "Autopack", "run-1") == root / "run-1"
    assert run_folder(root, "Autopack", "shop", "run-1") == root / "_projects/shop/run-1"


@pytest.mark.parametrize(
    "name", ["..", "../../x", "/etc/passwd", "a/../../b", "", ".", "a\x00b", "\u202etxt", "x" * 4000, "é" * 200]
)
def test_no_name_of_a_tier_leaves_its_folder(name: str, root: Path) -> None:
    for path in (tier_file(0, name), phase_file(0, name), file_name(name)):
        full = os.path.normpath(root / path)
        assert Path(full).is_relative_to(root)
        assert full != str(root)
        assert "\x00" not in path
        assert "\u202e" not in path
        assert all(len(part.encode()) <= 255 for part in Path(path).parts)


def test_names_are_the_first_versions_where_they_are_plain() -> None:
    assert tier_file(3, "Cart and/or till") == "tiers/tier_03_Cart_and_or_till.md"
    assert phase_file(12, "P-1.a") == "phases/phase_12_P-1.a.md"
    assert phase_file(100, "P") == "phases/phase_100_P.md"


async def test_a_folder_of_another_log_is_written_anew(root: Path) -> None:
    write_files(root / "run-1", {"run_summary.md": b"old"}, Manifest("old log", 50))
    write_files(root / "run-1", {"run_summary.md": b"new"}, Manifest("new log", 3))
    assert (root / "run-1/run_summary.md").read_bytes() == b"new"


def test_a_folder_of_another_layout_is_written_anew(root: Path) -> None:
    write_files(
        root / "run-1", {"page.md": b"old"}, Manifest("log", 5, layout=LAYOUT - 1, stamps={"page.md": "1"})
    )
    assert look(root / "run-1", {"page.md": "1"}) == (Manifest(), frozenset())
    write_files(root / "run-1", {"page.md": b"new"}, Manifest("log", 5, stamps={"page.md": "1"}))
    assert look(root / "run-1", {"page.md": "1"})[1] == {"page.md"}


async def test_what_a_killed_process_left_behind_is_cleared(root: Path) -> None:
    leftover = root / "run-1" / "tiers" / ".unfinished-abc"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    os.utime(leftover, (0, 0))
    write_files(root / "run-1", {"run_summary.md": b"whole"}, Manifest("log", 1))
    assert visible(root / "run-1") == {"run_summary.md"}
    assert not leftover.exists()


async def test_what_another_process_is_writing_is_left_alone(root: Path) -> None:
    under_way = root / "run-1" / "tiers" / ".unfinished-abc"
    under_way.parent.mkdir(parents=True)
    under_way.write_bytes(b"half")
    write_files(root / "run-1", {"run_summary.md": b"whole"}, Manifest("log", 1))
    assert under_way.read_bytes() == b"half"


async def test_the_manifest_comes_when_all_that_it_names_is_on_the_disk(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def renamed(source: Path, target: Path) -> None:
        done.append(target.name)
        os.rename(source, target)

    def synced(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            done.append(f"{path.name}/")

    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(os, "fsync", synced)
    write_files(root / "run-1", {"tiers/tier_00.md": b"page"}, Manifest("log", 1))
    parent = f"{root.name}/"
    assert done == ["tier_00.md", "run-1/", "tiers/", ".manifest.json", parent, "run-1/"]


class Disk:
    """What a power cut may leave under each name: what was last synced there, or anything that came there since.

    Contents are known by the name under which they were written first, which is no other's.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: dict[Path, list[str | None]] = {}
        self.whole: set[str] = set()
        self.manifests: dict[str, Manifest] = {}
        self.faults: list[str] = []
        self.syncs = 0
        for name in ("replace", "unlink", "fsync"):
            monkeypatch.setattr(os, name, self._heard(getattr(os, name), getattr(self, f"_{name}")))

    def _heard(self, does: Callable[..., None], notes: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            notes(*arguments)
            does(*arguments)
            self.faults.extend(self._torn())

        return call

    def _replace(self, source: Path, target: Path) -> None:
        self.left.setdefault(target, [None]).append(str(source))
        if target.name == ".manifest.json":
            self.manifests[str(source)] = Manifest(**json.loads(source.read_bytes()))

    def _unlink(self, path: Path) -> None:
        self.left.setdefault(path, [None]).append(None)

    def _fsync(self, descriptor: int) -> None:
        self.syncs += 1
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            self.left |= {name: found[-1:] for name, found in self.left.items() if name.parent == path}
        else:
            self.whole.add(self.left[path][-1] or "" if path in self.left else str(path))

    def _torn(self) -> Iterator[str]:
        """Files that a manifest would vouch for on the machine's next boot, and that may not be there whole."""
        for path, contents in self.left.items():
            for manifest in (self.manifests[one] for one in contents if one in self.manifests):
                named = manifest.stamps if manifest.is_synced else {}
                yield from (
                    f"{manifest.origin} {manifest.sequence}: {name}"
                    for name in named
                    if not self.whole.issuperset(self.left.get(path.parent / name, [None]))
                )


async def test_no_power_cut_leaves_a_manifest_that_vouches_for_a_file_that_is_not_there_whole(
    pool: Pool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    log = ListLog()
    log.write([*recorded(success()), *recorded(failure(), "run-2")])
    files = RunFiles(pool, log, Blobs(), root, "shop")
    for number in range(1, len(log.records[EVENTS]) + 1):
        await fold(pool, log, number)
        await files.keep(0)
    await files.rebuild(0)
    # A log that was begun anew writes into the folders of runs that have ended.
    await pool.execute("TRUNCATE runs_v2, tiers_v1, phases_v1, attempts_v2, timeline_v1, projection_heads")
    await pool.execute("UPDATE projection_checkpoints SET next_offset = 0")
    anew = ListLog()
    anew.write(recorded(Scenario(count=100).started()))
    await fold(pool, anew)
    await files.keep(0)
    assert disk.syncs > 0
    assert disk.faults == []


def test_a_manifest_that_comes_too_early_would_be_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    write_files(root, {"page.md": b"1"}, Manifest("log", 1, stamps={"page.md": "1"}, boot=this_boot()))
    unsynced = root / "unsynced"
    unsynced.write_text(json.dumps({"origin": "log", "sequence": 1, "stamps": {"page.md": "1"}}))
    os.replace(unsynced, root / ".manifest.json")
    assert disk.faults == ["log 1: page.md"]


async def test_files_of_a_run_that_goes_on_are_not_synced_and_all_are_at_its_end(
    pool: Pool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    log = ListLog()
    log.write(recorded(success()))
    files = RunFiles(pool, log, Blobs(), root, "shop")
    for number in range(1, len(log.records[EVENTS])):
        await fold(pool, log, number)
        await files.keep(0)
    assert disk.syncs == 0
    await fold(pool, log)
    await files.keep(0)
    assert {found for name in files_of(root) for found in disk.left[root / name]} == disk.whole
    assert read_manifest(root / "run-1").is_synced


async def test_after_a_power_cut_a_run_that_goes_on_has_all_its_files_written_anew(pool: Pool, root: Path) -> None:
    log = ListLog()
    log.write(recorded(success()))
    files = RunFiles(pool, log, Blobs(), root, "shop")
    await fold(pool, log, 20)
    await files.keep(0)
    manifest = root / "run-1/.manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(this_boot().encode(), b"the boot before"))
    (root / "run-1/project_implementation_strategy_v1.json").write_bytes(b"")
    assert read_manifest(root / "run-1") == Manifest()
    await fold(pool, log, 21)
    await files.keep(0)
    assert (root / "run-1/project_implementation_strategy_v1.json").read_bytes() != b""
    assert read_manifest(root / "run-1").sequence == 20


def test_what_the_system_could_not_write_is_vouched_for_by_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(root, {"page.md": b"1"}, Manifest("log", 1, stamps={"page.md": "1"}, boot=this_boot()))

    def lost(descriptor: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).name == "page.md":
            raise OSError("Input/output error")

    monkeypatch.setattr(os, "fsync", lost)
    with pytest.raises(OSError, match="Input/output error"):
        write_files(root, {}, Manifest("log", 2, stamps={"page.md": "1"}))
    assert read_manifest(root) == Manifest()


async def test_pages_show_tiers_without_phases_and_builds_elsewhere_as_the_api_does(
    pool: Pool, root: Path
) -> None:
    tiers = [{"tier_id": name, "tier_index": i, "name": name} for i, name in enumerate(("T0", "T1"))]
    story = Scenario().started(tiers=tiers, agents={"builder": "external", "auditor": "external"})
    waiting = len(recorded(story))
    story.not_built("P1")  # It is asked once more, at once.
    asked_again = len(recorded(story))
    story.built("P1")
    built = len(recorded(story))
    story.cancelled()
    log, seen = ListLog(), []
    log.write(recorded(story))
    for number in (waiting, asked_again, built, None):
        await fold(pool, log, number)
        await RunFiles(pool, log, Blobs(), root, "shop").keep(0)
        async with pool.acquire() as connection:
            view = await read_run(connection, "run-1")
        shown = summarize(view)
        (phase,), empty = shown.phases, shown.tiers[0]
        folder = root / "run-1"
        summary, tier = ((folder / name).read_text() for name in ("run_summary.md", "tiers/tier_00_T0.md"))
        assert f"P1: {phase.state}, {phase.builder_attempts} attempts" in summary
        assert f"T0 (T0): {empty.state}, " in summary
        assert f"- **State:** {empty.state}\n" in tier
        page = (folder / "phases/phase_00_P1.md").read_text()
        assert f"- **Builder Attempts:** {phase.builder_attempts} of 3" in page
        seen.append((phase.builder_attempts, empty.state))
    assert seen == [(0, "PENDING"), (1, "PENDING"), (2, "PENDING"), (2, "COMPLETE")]
