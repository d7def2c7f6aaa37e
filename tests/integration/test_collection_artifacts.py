"""Which artifacts are collected, and which are not, whatever else goes on."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import time

import pytest

from events.families.base import ArtifactRef
from events.families.verify import CheckOutcome, CheckResult
from events.log.port import NewRecord
from projections.database import Pool
from projections.lane import Lane
from projections.queries.retention import TablesBehind, needed_digests
from services.artifacts import DAY_SECONDS, ArtifactMissing, FileArtifacts, open_artifacts
from services.collection.artifacts import StoreOfAnotherLog, collect_artifacts
from services.embedded.postgres import EmbeddedPostgres
from services.runner.results import RememberedResults
from support.histories import ListLog, recorded
from support.scenario import Scenario, plan
from support.standing_still import standing_still
from support.tables import EVENTS, HISTORY_READERS, tables_at_zero

FOR_EVER = 1e5
PATCH = b"a patch"


@dataclass
class Ground:
    """A log, its tables and an artifact store in a folder."""

    pool: Pool
    folder: Path
    log: ListLog

    @property
    def store(self) -> FileArtifacts:
        return open_artifacts(str(self.folder))

    async def tell(self, story: Scenario, run_id: str = "run-1") -> None:
        """Write a run into the history, and fold it."""
        start = len(self.log.records[EVENTS])
        self.log.write(recorded(story, run_id))
        await Lane(self.pool, EVENTS, start, HISTORY_READERS).take(self.log.records[EVENTS][start:])

    async def collect(self, kept_days: float = 30.0, *, dry_run: bool = False) -> tuple[int, int]:
        """The blobs and the answers that went."""
        done = await collect_artifacts(self.store, self.log, self.pool, kept_days, dry_run=dry_run)
        return done.blobs, done.results

    def age(self, days: float = 10.0) -> None:
        """Let everything in the store be so old."""
        for path in self.folder.rglob("*"):
            os.utime(path, (time() - days * DAY_SECONDS,) * 2)


@pytest.fixture
async def ground(database_url: str, tmp_path: Path) -> AsyncIterator[Ground]:
    async with tables_at_zero(database_url) as pool:
        yield Ground(pool, tmp_path / "artifacts", ListLog())


def reference(data: bytes) -> ArtifactRef:
    return ArtifactRef(digest=f"sha256:{sha256(data).hexdigest()}", size_bytes=len(data))


def going_on(patch: bytes = PATCH) -> Scenario:
    story = Scenario()
    story.say(plan())
    story.prepared()
    story.built(patch=reference(patch))
    return story


def ended(patch: bytes = PATCH) -> Scenario:
    story = going_on(patch)
    story.cancelled()
    assert "run-1" in story.project.ended
    return story


async def test_what_a_run_needs_that_goes_on_stays_however_old_it_is(ground: Ground) -> None:
    await ground.store.put(PATCH)
    await ground.tell(going_on())
    ground.age(days=1000)
    assert await ground.collect(kept_days=0) == (0, 0)
    assert await ground.store.get(reference(PATCH).digest) == PATCH


async def test_what_only_ended_runs_needed_goes_after_the_retention(ground: Ground) -> None:
    await ground.store.put(PATCH)
    await ground.tell(ended())
    ground.age()
    assert await ground.collect(kept_days=FOR_EVER) == (0, 0)
    assert await ground.collect(dry_run=True) == (1, 0)
    assert await ground.collect() == (1, 0)
    with pytest.raises(ArtifactMissing):
        await ground.store.get(reference(PATCH).digest)
    assert await ground.collect() == (0, 0)


async def test_a_blob_of_two_runs_stays_as_long_as_one_needs_it(ground: Ground) -> None:
    await ground.store.put(PATCH)
    await ground.tell(ended())
    await ground.tell(going_on(), "run-2")
    ground.age()
    assert await ground.collect() == (0, 0)


async def test_a_blob_whose_event_is_still_on_its_way_stays(ground: Ground) -> None:
    await ground.tell(ended())
    await ground.store.put(b"just written")
    assert await ground.collect() == (0, 0)
    assert await ground.store.get(reference(b"just written").digest) == b"just written"


async def test_a_blob_that_is_put_again_stays_though_a_collector_has_chosen_its_file(ground: Ground) -> None:
    """It was looked at while nobody needed it; then a worker made the same, and only then is it removed."""
    await ground.store.put(PATCH)
    ground.age()
    [chosen] = await ground.store.blobs()
    assert await ground.store.put(PATCH) == reference(PATCH)
    assert await ground.store.drop(chosen)
    assert await ground.store.get(reference(PATCH).digest) == PATCH
    assert await ground.collect() == (0, 0)
    assert await ground.store.get(reference(PATCH).digest) == PATCH


async def test_of_a_blob_that_is_put_again_and_again_one_file_stays(ground: Ground) -> None:
    await ground.tell(going_on())
    for _ in range(4):
        await ground.store.put(PATCH)
        await ground.store.put(PATCH)
        ground.age()
    assert len(await ground.store.blobs()) == 4
    assert await ground.collect() == (3, 0)
    assert await ground.store.get(reference(PATCH).digest) == PATCH


async def test_a_kept_answer_and_what_it_speaks_of_stay_until_its_run_has_ended(ground: Ground) -> None:
    """The supervisor was away for days: the answer is in no history, and will be submitted again."""
    results = RememberedResults(ground.store, "builder")
    said = f'{{"project": "shop", "runid": "run-1", "data": "{reference(PATCH).digest}"}}'
    await ground.store.put(PATCH)
    await results.keep("shop", "e9", NewRecord("shop", said.encode(), {"type": b"autopack.BuildSucceeded.v1"}))
    story = Scenario()
    story.say(plan())
    await ground.tell(story)
    ground.age()
    assert await ground.collect() == (0, 0)
    assert await results.recall("shop", "e9") is not None
    story.cancelled()
    ground.log.write(recorded(story)[len(ground.log.records[EVENTS]) :])
    await Lane(ground.pool, EVENTS, 2, HISTORY_READERS).take(ground.log.records[EVENTS][2:])
    assert await ground.collect() == (1, 1)
    assert await results.recall("shop", "e9") is None


async def test_nothing_is_collected_by_tables_that_lag_behind_the_history(ground: Ground) -> None:
    await ground.store.put(PATCH)
    ground.log.write(recorded(going_on()))
    ground.age()
    with pytest.raises(TablesBehind, match="are to be folded"):
        await ground.collect()
    assert await ground.store.get(reference(PATCH).digest) == PATCH


async def test_nothing_is_collected_from_the_store_of_another_log(ground: Ground, database_url: str) -> None:
    await ground.store.put(PATCH)
    await ground.tell(going_on())
    await ground.collect()
    ground.age()
    other = Ground(ground.pool, ground.folder, ListLog())
    other.log.write(recorded(ended(), "another-run"))
    with pytest.raises(StoreOfAnotherLog, match="collection/log"):
        await other.collect()
    assert await ground.store.get(reference(PATCH).digest) == PATCH


async def test_the_files_of_killed_writers_are_removed(ground: Ground) -> None:
    await ground.tell(going_on())
    (ground.folder / "incoming").mkdir(parents=True)
    (ground.folder / "incoming" / "old").write_bytes(b"half")
    ground.age()
    (ground.folder / "incoming" / "new").write_bytes(b"half")
    await ground.collect()
    assert os.listdir(ground.folder / "incoming") == ["new"]


async def test_every_artifact_that_an_event_names_is_found_to_be_needed(ground: Ground) -> None:
    """Patches, suggested patches, and the logs of builds, audits and checks, good and bad."""
    names = ("patch", "log", "failed", "verdict", "silent", "mended", "red", "green", "last")
    of = {name: reference(name.encode()) for name in names}
    story = Scenario()
    story.say(plan([{"phase_id": "P1", "task_category": "schema_change"}, {"phase_id": "P2"}]))
    story.prepared()
    story.built(patch=of["patch"], log=of["log"])
    story.not_audited(log=of["silent"])
    story.audited("revise", "P1", of["mended"], log=of["verdict"])
    story.audited("approve")
    story.applied(1)
    story.red(checks=[check(of["red"], CheckOutcome.FAILED)])
    story.built(patch=of["last"])
    story.audited("approve")
    story.applied(2)
    story.green(checks=[check(of["green"], CheckOutcome.PASSED, name) for name in ("tests", "all")])
    story.landed()
    story.not_built("P2", log=of["failed"])
    await ground.tell(story)
    named = {d for record in ground.log.records[EVENTS] for d in re.findall(rb"sha256:[0-9a-f]{64}", record.value)}
    assert {one.digest.encode() for one in of.values()} == named
    async with ground.pool.acquire() as connection:
        assert {digest.encode() for digest in await needed_digests(connection, FOR_EVER * DAY_SECONDS)} == named


def check(log: ArtifactRef, outcome: CheckOutcome, name: str = "tests") -> CheckResult:
    return CheckResult(name=name, outcome=outcome, log=log)


async def test_a_database_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with EmbeddedPostgres(tmp_path / "home") as server, tables_at_zero(server.url) as pool:
        ground = Ground(pool, tmp_path / "artifacts", ListLog())
        await ground.tell(ended())
        with standing_still(tmp_path / "home"), monkeypatch.context() as patched:
            patched.setattr("services.collection.artifacts.LIMIT_SECONDS", 0.5)
            collecting = asyncio.create_task(ground.collect())
            done, _ = await asyncio.wait({collecting}, timeout=60)
        assert done == {collecting}
        assert isinstance(collecting.exception(), TimeoutError)
        assert await ground.collect() == (0, 0), "it goes on with another connection"
