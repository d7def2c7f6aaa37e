"""Snapshots: what comes back is the state that was kept, or nothing; never code, never a failure."""

import asyncio
import os
import pickle
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from events.decide import decide
from events.history import PartitionState, chain, fold
from events.log.postgres.server import Server
from events.plan import plan_faults
from services.artifacts import open_artifacts
from services.supervisor import snapshots as module
from services.supervisor.snapshots import Snapshot, Snapshots, dump_snapshot, load_snapshot
from services.supervisor.timer import Timer
from support.histories import random_history, recorded, success
from support.scenario import MENDED, Scenario, plan, used


def rich() -> PartitionState:
    """Runs in every condition: waiting, built, audited, ended, in quarantine."""
    run = Scenario(runs_at_once=2)
    run.started([{"phase_id": "P1", "task_category": "schema_change"}, {"phase_id": "P2"}], max_cost_usd=3.5)
    run.claimed("P1")
    run.built("P1", usage=used(7, cost_usd=0.1), probes=[{"name": "p", "outcome": "ok"}], needs_review=True)
    run.claimed("P1")
    run.audited("revise", "P1", MENDED, findings=[{"severity": "major", "message": "a thing"}])
    run.say(plan(run_id="run-2"), "run-2")
    run.cancelled("run-2")
    run.say(plan(run_id="run-3"), "run-3")
    state = PartitionState()
    for record in chain(PartitionState().heads, "shop", run.history)[0]:
        state = fold(state, record.value, record.type_name)
    for record in random_history(5)[:60]:
        state = fold(state, record.value.replace(b'"project":"shop"', b'"project":"till"'), record.type_name)
    return state


def snapshot(state: PartitionState | None = None, offset: int = 9) -> Snapshot:
    return Snapshot(offset, offset - 1, b"d" * 32, state or rich())


async def found(snapshots: Snapshots, partition: int) -> list[Snapshot]:
    return [one async for one in snapshots.newest_first(partition)]


def forged(parts: Any) -> bytes:
    """What somebody who can write to the store might leave there."""
    body = parts if isinstance(parts, bytes) else pickle.dumps(parts, protocol=5)
    return sha256(body).digest() + body


class Store:
    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.error: Exception | None = None

    async def read(self, name: str) -> bytes | None:
        if self.error:
            raise self.error
        return self.values.get(name)

    async def replace(self, name: str, data: bytes) -> None:
        if self.error:
            raise self.error
        self.values[name] = data

    async def list(self, prefix: str) -> list[str]:
        if self.error:
            raise self.error
        return [name for name in self.values if name.startswith(prefix)]

    async def delete(self, name: str) -> None:
        if self.error:
            raise self.error
        self.values.pop(name, None)


class Caller:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def test_what_was_kept_comes_back_equal():
    kept = snapshot()
    assert kept.state.projects["till"].runs or kept.state.projects["till"].ended
    assert load_snapshot(dump_snapshot(kept)) == kept


def test_damaged_bytes_are_no_snapshot():
    data = dump_snapshot(snapshot())
    for spoilt in (
        data[:-1],
        data[:40],
        data[:31],
        b"",
        data[:50] + b"\x00" + data[51:],
        b"\x00" * 32 + data[32:],
    ):
        assert load_snapshot(spoilt) is None


def test_only_values_of_the_core_are_read_back(tmp_path_factory: pytest.TempPathFactory):
    marker = tmp_path_factory.mktemp("forged") / "made"
    for call in (
        Caller(os.system, f"touch {marker}"),
        Caller(eval, f"open({str(marker)!r}, 'w')"),
        Caller(open, str(marker), "w"),
        Caller(getattr, "x", "upper"),
        Caller(decide),
        Caller(plan_faults, plan()),
        Caller(Server, "postgresql://elsewhere", 1.0),
    ):
        parts = (9, 8, call, PartitionState())
        assert load_snapshot(forged(parts)) is None, call.call
    assert not marker.exists()


def test_values_that_make_no_snapshot_are_none():
    state = PartitionState()
    deep = b"\x80\x05" + b"]" * 5_000 + b"a" * 4_999 + b"."
    for parts in ((9, 8, b"d"), (9, 8, b"d", None), 7, (1, 2, 3, state, 5), b"junk", b".", deep):
        assert load_snapshot(forged(parts)) is None


async def test_another_version_of_the_core_does_not_see_it(monkeypatch: pytest.MonkeyPatch):
    snapshots = Snapshots(Store(), "log")
    await snapshots.keep(3, snapshot())
    assert await found(snapshots, 3) == [snapshot()]
    assert await found(snapshots, 2) == []
    monkeypatch.setattr(module, "core_version", lambda: "another")
    assert await found(snapshots, 3) == []


async def test_a_store_that_fails_costs_the_snapshot_and_no_more():
    store = Store()
    snapshots = Snapshots(store, "log")
    await snapshots.keep(0, snapshot())
    store.error = OSError(28, "No space left on device")
    await snapshots.keep(0, snapshot(PartitionState()))
    assert await found(snapshots, 0) == []
    store.error = None
    assert await found(snapshots, 0) == [snapshot()]


async def test_a_store_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    """Taking a partition over looks for a snapshot first, and can do without."""
    monkeypatch.setattr(module, "STORE_SECONDS", 0.05)

    async def hanging(name: str) -> Any:
        await asyncio.Event().wait()

    store = Store()
    snapshots = Snapshots(store, "log")
    await snapshots.keep(0, snapshot())
    for method in ("read", "list"):
        monkeypatch.setattr(store, method, hanging)
        async with asyncio.timeout(60):
            assert await found(snapshots, 0) == []


async def test_the_newest_two_of_a_partition_are_kept_and_read_newest_first(tmp_path: Path):
    store = open_artifacts(str(tmp_path))
    snapshots = Snapshots(store, "log")
    await snapshots.keep(1, snapshot(offset=5))
    for offset in (9, 20, 100, 1_000):
        await snapshots.keep(0, snapshot(offset=offset))
    assert [one.offset for one in await found(snapshots, 0)] == [1_000, 100]
    assert [one.offset for one in await found(snapshots, 1)] == [5]
    assert len(await store.list("snapshots/")) == 3


async def test_snapshots_of_older_versions_of_the_core_go_as_well(monkeypatch: pytest.MonkeyPatch):
    store = Store()
    snapshots = Snapshots(store, "log")
    for offset in (9, 19, 29, 39):
        monkeypatch.setattr(module, "core_version", lambda offset=offset: f"version {offset}")
        await snapshots.keep(0, snapshot(offset=offset))
        assert [one.offset for one in await found(snapshots, 0)] == [offset]
    assert len(store.values) == 2


async def test_snapshots_that_are_ahead_belong_to_another_log_and_make_room():
    snapshots = Snapshots(Store(), "log")
    for offset in (5_000, 10_000, 7, 8):
        await snapshots.keep(0, snapshot(offset=offset))
    assert [one.offset for one in await found(snapshots, 0)] == [8, 7]


async def test_where_the_newest_is_damaged_the_one_before_is_used():
    store = Store()
    snapshots = Snapshots(store, "log")
    for offset in (7, 8):
        await snapshots.keep(0, snapshot(offset=offset))
    store.values[max(store.values)] = b"spoilt"
    assert [one.offset for one in await found(snapshots, 0)] == [7]


def test_of_a_run_that_has_ended_a_snapshot_keeps_no_more_than_what_its_project_must_know() -> None:
    """Its id stays known for ever, so this part grows; what the run was made of does not."""
    story, state = success(), PartitionState()
    sizes: dict[int, int] = {}
    for number in range(1, 42):
        for record in recorded(story, f"run-{number:030}"):
            state = fold(state, record.value, record.type_name)
        assert not state.project("shop").runs
        sizes[number] = len(dump_snapshot(Snapshot(number, number, b"", state)))
    assert (sizes[41] - sizes[1]) / 40 < 400, "bytes a run"


def test_runs_that_have_ended_leave_nothing_to_wait_for() -> None:
    state = PartitionState()
    for record in recorded(success()):
        state = fold(state, record.value, record.type_name)
    timer = Timer()
    timer.load(state)
    assert timer.entries == 0
