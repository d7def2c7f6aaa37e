"""Bad input in the submitted topics: refused with its reason and its raw bytes, and the partition goes on."""

import asyncio
import json
from pathlib import Path

import pytest

from events.catalogue import Topic
from events.log.port import NewRecord, Place
from services.compose import Service
from services.settings import Settings
from support.builds import WRITES_A_FILE, Build, names, python_agent, repository, request, running, submitted
from support.strangers import Refusal, altered, binary_mode, elsewhere, refusals

ENDED = {"state": "DONE_SUCCESS"}
ANSWERED = {"request_id": "nobody-asked", "failure": "internal", "reason": "late"}
CLAIM = {"request_id": "nobody-asked", "instance": "stranger", "limit_seconds": 5}
DEEP = b"[" * 10_000 + b"]" * 10_000


def _envelopes(plan: dict[str, object]) -> list[Refusal]:
    """What is wrong with the envelope, or with the bytes themselves."""
    deep_data = altered({}).replace(b'"data": {}', b'"data": ' + DEEP)
    return [
        Refusal(b"\x00\xff junk", "unreadable"),
        Refusal(b"", "unreadable"),
        Refusal(b'"a string"', "unreadable"),
        Refusal(DEEP, "unreadable"),
        Refusal(deep_data, "unreadable"),
        Refusal(b'{"project": "\\ud800"}', "unreadable"),
        Refusal(b"x" * 1_048_576, "too_large"),
        Refusal(altered(plan, padding="x" * 1_048_576), "too_large"),
        Refusal(altered(plan, project=elsewhere("shop", 2, 150_000)), "too_large"),
        Refusal(altered(plan, id="h0", project=elsewhere("shop", 2, 40_000)), "invalid_data", ("project",)),
        Refusal(altered(plan, id="h1", project="p" * 101), "invalid_data", ("project",)),
        Refusal(altered(plan, id="h2", project="shop/../till"), "invalid_data", ("project",)),
        Refusal(altered(plan, id="h3", project="a\x00b"), "invalid_data", ("project",)),
        Refusal(altered(plan, project=None), "invalid_data", ("project",)),
        Refusal(altered(plan, id=None), "invalid_data", ("id",)),
        Refusal(altered(plan, id="x" * 129), "invalid_data", ("id",)),
        Refusal(altered(plan, source=""), "invalid_data", ("source",)),
        Refusal(altered(plan, specversion="0.3"), "invalid_data", ("specversion",)),
        Refusal(altered(plan, datacontenttype="text/xml"), "invalid_data", ("datacontenttype",)),
        Refusal(altered(plan, type=None), "unknown_type", ("type",)),
        Refusal(altered(plan, type="autopack.RunRequested.v9"), "unknown_type", ("type",)),
        Refusal(altered(plan, type="autopack.RunRequested.v0"), "unknown_type", ("type",)),
        Refusal(altered(plan, type="com.example.Order"), "unknown_type", ("type",)),
    ]


def _misplaced(plan: dict[str, object]) -> list[Refusal]:
    """Well formed, and submitted by the wrong party, at the wrong place or time."""
    ended = {"state": "DONE_SUCCESS", "head_commit": None, "tokens_used": 0, "ci_runs_used": 0}
    ended["tokens_are_lower_bound"] = False
    promoted = {"branch": "main", "commit": "0" * 40}
    return [
        Refusal(altered(plan), "wrong_topic", topic=Topic.RESULTS),
        Refusal(altered(ended, "RunCompleted", "first"), "not_submittable"),
        Refusal(altered(ended, "RunCompleted", "open"), "not_submittable", topic=Topic.RESULTS),
        Refusal(altered({"reason": ""}, "RunCancelRequested", "nowhere"), "unknown_run"),
        Refusal(altered(ANSWERED, "PrepareFailed", "nowhere"), "unknown_run", topic=Topic.RESULTS),
        Refusal(altered(ANSWERED, "PrepareFailed", "first"), "run_ended", topic=Topic.RESULTS),
        Refusal(altered(CLAIM, "WorkStarted", "first"), "run_ended", topic=Topic.RESULTS),
        Refusal(altered({}, "RunCancelRequested", "first"), "run_ended"),
        Refusal(altered(promoted, "RunPromoted", "nowhere"), "unknown_run"),
        Refusal(altered(ANSWERED, "PrepareFailed", "open"), "unknown_request", topic=Topic.RESULTS),
        Refusal(altered(CLAIM, "WorkStarted", "open"), "unknown_request", topic=Topic.RESULTS),
        Refusal(altered(promoted, "RunPromoted", "open"), "run_not_ended"),
        Refusal(altered({**plan, "run_id": "first"}, run_id="first", id="other"), "duplicate_run_id"),
        Refusal(altered({**plan, "run_id": "open"}, run_id="open", id="other"), "duplicate_run_id"),
    ]


async def _refused_as_expected(build: Build, expected: list[Refusal]) -> None:
    found = await refusals(build)
    for case in expected:
        told = found.get(case.value)
        assert told is not None, (case.reason, case.value[:300])
        assert (told["reason"], told["source_topic"]) == (case.reason, case.topic), case.value[:300]
        assert told["places"][: len(case.places)] == case.places, case.value[:300]
        assert told["message"]
        place = Place(case.topic, int(told["source_partition"]))
        lay = await build.log.read(place, int(told["source_offset"]), int(told["source_offset"]) + 1)
        assert [record.value for record in lay] == [case.value]


async def test_each_bad_record_is_refused_with_its_reason_and_good_runs_go_on(
    log_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("services.supervisor.partition.DELETE_EVERY_SECONDS", 3600.0)
    repo = repository(tmp_path / "repo")
    plan = request(repo, run_id="odd")
    held = request(repo, run_id="open", agents={"builder": "external"})
    expected = [*_envelopes(plan), *_misplaced(plan)]
    async with running(log_settings, python_agent(tmp_path, "agent", WRITES_A_FILE)) as build:
        await build.start(request(repo, run_id="first"))
        await build.end("first")
        await build.start(held)
        await build.until("autopack.BuildRequested.v1", "open")
        for case in expected:
            await build.log.submit(case.topic, [case.record])
        await build.start(request(repo, run_id="last"))
        assert (await build.end("last"))["data"].items() >= ENDED.items()
        await build.log.submit(Topic.RESULTS, [await _marker(build)])
        await build.until("autopack.BuildFailed.v1", "open")
        await _refused_as_expected(build, expected)
        assert names(await build.history("odd")) == []


async def _marker(build: Build) -> NewRecord:
    """An answer that the held run admits: behind it every result submitted before has been judged."""
    asked = await build.until("autopack.BuildRequested.v1", "open")
    failed = {"phase_id": "P1", "attempt": 1, "failure": "exit_code", "reason": "no"}
    return submitted("BuildFailed", {"request_id": asked["id"], **failed}, "open", "shop")


async def test_a_record_under_a_foreign_key_is_forwarded_home_and_is_one_run(
    log_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("services.supervisor.partition.DELETE_EVERY_SECONDS", 3600.0)
    record = submitted("RunRequested", request(repository(tmp_path / "repo")), "run-1", "shop")
    async with running(log_settings, services=frozenset({Service.SUPERVISOR})) as build:
        astray = NewRecord(elsewhere("shop", build.log.partition_count), record.value, {"note": b"mine"})
        await build.log.submit(Topic.COMMANDS, [astray, astray])
        await build.log.submit(Topic.COMMANDS, [record])
        await build.start(request("/nowhere", run_id="run-2"))
        await build.until("autopack.RunRequested.v1", "run-2")
        requested = await build.until("autopack.RunRequested.v1")
        async with asyncio.timeout(30):
            while len(at_home := await build.records(Topic.COMMANDS)) < 4:
                await asyncio.sleep(0.02)
        history = await build.history()
        rejections = await build.records(Topic.REJECTIONS)
    same = [found for found in at_home if found.value == record.value]
    assert len(same) == 3
    assert [found.headers.get("note") for found in same].count(b"mine") == 2
    assert names(history).count("RunRequested") == 1
    sent = json.loads(record.value)
    assert (requested["id"], requested["source"]) == (sent["id"], sent["source"])
    assert rejections == []


async def test_binary_mode_is_accepted_wherever_it_is_put(log_settings: Settings, tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    async with running(log_settings, services=frozenset({Service.SUPERVISOR, Service.APPLIER})) as build:
        home = binary_mode(request(repo), "run-1")
        astray = binary_mode(request(repo, run_id="run-2"), "run-2")
        astray = NewRecord(elsewhere("shop", build.log.partition_count), astray.value, astray.headers)
        broken = binary_mode({**request(repo), "surprise": 1}, "run-3")
        nameless = binary_mode(request(repo), "run-4", specversion="7")
        await build.log.submit(Topic.COMMANDS, [home, astray, broken, nameless])
        for run_id in ("run-1", "run-2"):
            requested = await build.until("autopack.RunRequested.v1", run_id)
            assert (requested["id"], requested["source"]) == (f"binary-{run_id}", "/tests")
            await build.until("autopack.RunAccepted.v1", run_id)
        found = await refusals(build)
    assert found[broken.value]["places"] == ("data.surprise",)
    assert found[broken.value]["original.ce_id"] == "binary-run-3"
    assert found[nameless.value]["places"] == ("specversion",)


async def test_a_run_id_stays_taken_and_a_repeated_request_is_passed_over(
    log_settings: Settings, tmp_path: Path
) -> None:
    """Also when the first run has ended and its supervisor has been replaced by one that only has the log."""
    repo = repository(tmp_path / "repo")
    second = altered(request(repo), run_id="run-1", id="another")
    async with running(log_settings) as build:
        await build.start(request(tmp_path / "nowhere"))
        await build.end()
    async with running(log_settings, services=frozenset({Service.SUPERVISOR})) as build:
        await build.start(request(tmp_path / "nowhere"))
        await build.log.submit(Topic.COMMANDS, [NewRecord("shop", second)])
        await build.start(request(repo, run_id="run-2"))
        await build.until("autopack.RunRequested.v1", "run-2")
        found = await refusals(build)
        history = await build.history()
    assert [(told["reason"], value) for value, told in found.items()] == [("duplicate_run_id", second)]
    assert names(history).count("RunRequested") == 1
