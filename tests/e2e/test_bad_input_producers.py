"""Producers that are not ours: a plain Kafka client with default settings, and one that does odd things."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from events.catalogue import Topic
from events.log.partitions import home_partition
from services.compose import Service
from services.settings import Settings
from support.builds import WRITES_A_FILE, Build, names, python_agent, repository, request, running, submitted
from support.kafka_log import write_with_name
from support.strangers import refusals

on_kafka = pytest.mark.parametrize("log_settings", ["kafka"], indirect=True)
SUPERVISING = frozenset({Service.SUPERVISOR, Service.APPLIER})


@asynccontextmanager
async def _stranger(settings: Settings, **options: object) -> AsyncIterator[AIOKafkaProducer]:
    bootstrap = str(settings.log).removeprefix("kafka://")
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, **options) as producer:
        yield producer


def _started(repo: Path, run_id: str) -> bytes:
    return submitted("RunRequested", request(repo, run_id=run_id), run_id, "shop").value


@on_kafka
async def test_a_plain_client_with_default_settings_gets_its_run(log_settings: Settings, tmp_path: Path) -> None:
    value = _started(repository(tmp_path / "repo"), "run-1")
    async with (
        running(log_settings, python_agent(tmp_path, "agent", WRITES_A_FILE)) as build,
        _stranger(log_settings) as producer,
    ):
        sent = await producer.send_and_wait(f"{log_settings.topic_prefix}autopack.commands", value, key=b"shop")
        assert (await build.end())["data"]["state"] == "DONE_SUCCESS"
    assert sent.partition == home_partition("shop", log_settings.partitions)


@on_kafka
async def test_a_foreign_partitioner_no_key_and_compression_cost_a_forward_and_no_more(
    log_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("services.supervisor.partition.DELETE_EVERY_SECONDS", 3600.0)
    repo = repository(tmp_path / "repo")
    topic = f"{log_settings.topic_prefix}autopack.commands"
    home = home_partition("shop", log_settings.partitions)
    away = 1 - home
    astray = _started(repo, "run-1")
    async with running(log_settings, services=SUPERVISING) as build, _stranger(log_settings) as producer:
        await producer.send_and_wait(topic, astray, key=b"shop", partition=away)
        await producer.send_and_wait(topic, astray, key=b"shop", partition=away)
        await producer.send_and_wait(topic, astray, key=b"shop", partition=home)
        await producer.send_and_wait(topic, _started(repo, "run-2"), partition=away)
        await producer.send_and_wait(topic, _started(repo, "run-3"), key=b"\xff\xfe", partition=home)
        headers = [("odd", None), ("odd", b"\xff"), ("autopack-positions", b"9 9")]
        await producer.send_and_wait(topic, _started(repo, "run-4"), partition=away, headers=headers)
        async with _stranger(log_settings, compression_type="gzip") as packed:
            await packed.send_and_wait(topic, _started(repo, "run-5"), key=b"shop", partition=away)
        for run_id in ("run-1", "run-2", "run-3", "run-4", "run-5"):
            await build.until("autopack.RunAccepted.v1", run_id)
        history = await build.history()
        assert await refusals(build) == {}
        at_home = [record for record in await build.records(Topic.COMMANDS) if record.value == astray]
    assert names(history).count("RunRequested") == 1
    assert history[0]["id"] == json.loads(astray)["id"]
    assert {record.key for record in at_home} == {"shop"}
    assert len(at_home) == 3


@on_kafka
async def test_records_at_the_limits_of_what_the_topics_take_do_not_stop_a_partition(
    log_settings: Settings, tmp_path: Path
) -> None:
    repo = repository(tmp_path / "repo")
    topic = f"{log_settings.topic_prefix}autopack.commands"
    home = home_partition("shop", log_settings.partitions)
    most = 2 * 1024 * 1024 - 200
    odd: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]] = [
        (b"shop", None, []),
        (None, b"", []),
        (None, b"x" * most, []),
        (b"k" * (most // 2), b"y" * (most // 2), []),
        (None, json.dumps({"project": "till", "padding": "z" * (most - 100)}).encode(), []),
        (None, json.dumps({"project": "t" * (most // 2)}).encode(), []),
        (None, b"many", [(f"{number:x}", b"") for number in range(180_000)]),
        (None, b"{}", [("ce_specversion", b"\xff"), ("ce_project", b"\xff\x00"), ("content-type", b"\xff")]),
        (b"shop", b"[" * 1_000_000, []),
    ]
    async with (
        running(log_settings, services=SUPERVISING) as build,
        _stranger(log_settings, max_request_size=4 * 1024 * 1024) as producer,
    ):
        for key, value, headers in odd:
            await producer.send_and_wait(topic, value, key=key, partition=home, headers=headers)
        await producer.send_and_wait(topic, _started(repo, "run-1"), key=b"shop", partition=home)
        await build.until("autopack.RunAccepted.v1")
        found = await _refused(build, {value or b"" for _, value, _ in odd})
    assert found[b"x" * most]["reason"] == "too_large"
    assert found[b"many"]["reason"] == "too_large"
    assert found[b"{}"]["original.ce_project"] == "\ufffd\x00"
    assert found[b""]["reason"] == "unreadable"


@on_kafka
async def test_a_record_with_a_header_whose_name_is_no_text_is_judged_like_any_other(
    log_settings: Settings, tmp_path: Path
) -> None:
    repo = repository(tmp_path / "repo")
    home = home_partition("shop", log_settings.partitions)
    topic = f"{log_settings.topic_prefix}autopack.commands"
    async with running(log_settings, services=SUPERVISING) as build, _stranger(log_settings) as producer:
        values = [b"odd", _started(repo, "run-1")]
        await write_with_name(producer, topic, values, b"\xff\xfe", partition=home)
        await build.until("autopack.RunAccepted.v1")
        await producer.send_and_wait(topic, _started(repo, "run-2"), key=b"shop", partition=home)
        await build.until("autopack.RunAccepted.v1", "run-2")
        found = await refusals(build)
    assert found.keys() == {b"odd"}
    assert found[b"odd"]["reason"] == "unreadable"
    assert found[b"odd"]["original.\ufffd\ufffd"] == "1"


async def _refused(build: Build, values: set[bytes]) -> dict[bytes, dict[str, object]]:
    """Wait until each of these has been refused: some had to be forwarded first."""
    async with asyncio.timeout(30):
        while not values <= (found := await refusals(build)).keys():
            await asyncio.sleep(0.05)
    return found


@on_kafka
async def test_what_strangers_write_into_the_history_itself_quarantines_that_run_alone(
    log_settings: Settings, tmp_path: Path
) -> None:
    """Only broken access rules let that happen; then the other runs of the partition go on all the same."""
    repo = repository(tmp_path / "repo")
    home = home_partition("shop", log_settings.partitions)
    topic = f"{log_settings.topic_prefix}autopack.events"
    async with running(log_settings, services=SUPERVISING) as build:
        await build.start(request(repo))
        await build.until("autopack.RunAccepted.v1")
        forged = (await build.records(Topic.EVENTS))[-1]
    async with _stranger(log_settings) as producer:
        headers = [("type", forged.headers["type"])]
        value = forged.value.replace(b'"id":"', b'"id":"0', 1)
        await producer.send_and_wait(topic, value, key=b"shop", partition=home, headers=headers)
    async with running(log_settings, services=SUPERVISING) as build:
        cancel = submitted("RunCancelRequested", {}, "run-1", "shop")
        await build.log.submit(Topic.COMMANDS, [cancel])
        await build.start(request(repo, run_id="run-2"))
        await build.until("autopack.RunAccepted.v1", "run-2")
        found = await refusals(build)
    assert found[cancel.value]["reason"] == "quarantined"
