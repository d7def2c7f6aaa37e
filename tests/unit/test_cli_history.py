"""Replaying and verifying a run's history, taking up a run again, and how the client reads answers."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from immutables import Map

from events.families.run import RunRequested
from events.history import chain
from events.states import PhaseState
from services.cli.client import Client, Refused
from services.cli.failures import ServiceUnreachable, Unsuccessful, WrongUsage
from services.cli.reaching import ServiceRecord, read_record, remove_record, service_at_hand, write_record
from services.cli.replaying import as_document, replay
from services.cli.retrying import remaining_request
from services.cli.verifying import verify
from services.settings import Settings
from support.scenario import Scenario

PHASES = [{"phase_id": "P1"}, {"phase_id": "P2"}, {"phase_id": "P3", "depends_on": ["P1", "P2"]}]


def records_of(scenario: Scenario) -> list[bytes]:
    records, _ = chain(Map(), "shop", scenario.history)
    return [record.value for record in records]


async def given(records: Iterable[bytes]) -> AsyncIterator[bytes]:
    for record in records:
        yield record


@dataclass
class RecordedRun:
    """A service that knows one run."""

    lines: list[bytes] = field(default_factory=list)

    async def records(self, run_id: str, after: int = -1, *, follow: bool = False) -> AsyncIterator[bytes]:
        for record in self.lines[after + 1 :]:
            yield record


async def test_the_replayed_state_is_the_live_one() -> None:
    scenario = Scenario().started(PHASES)
    scenario.completed("P1")
    scenario.claimed("P2")
    replayed = await replay("run-1", given(records_of(scenario)), None)
    assert replayed.run == scenario.run
    document = as_document(replayed)
    assert document["state"] == "PHASE_EXECUTION"
    assert document["run"]["phases"][0]["state"] == PhaseState.COMPLETE
    assert document["run"]["phases"][1]["strategy"]["builder_attempts"] == 3


async def test_a_replay_stops_where_it_is_told_to() -> None:
    scenario = Scenario().started(PHASES)
    before = scenario.run
    sequence = len(scenario.history) - 1
    scenario.completed("P1")
    replayed = await replay("run-1", given(records_of(scenario)), sequence)
    assert (replayed.run, replayed.sequence) == (before, sequence)


async def test_a_replayed_run_that_has_ended_keeps_how_it_last_stood() -> None:
    scenario = Scenario().started([{"phase_id": "P1"}])
    scenario.completed("P1")
    document = as_document(await replay("run-1", given(records_of(scenario)), None))
    assert document["state"] == "DONE_SUCCESS"
    assert document["ended"]["state"] == "DONE_SUCCESS"
    assert document["run"]["phases"][0]["commit"] is not None


async def test_a_broken_chain_cannot_be_replayed() -> None:
    records = records_of(Scenario().started(PHASES))
    with pytest.raises(Unsuccessful, match="does not extend the chain"):
        await replay("run-1", given([*records[:2], *records[3:]]), None)


async def test_a_whole_history_is_found_whole() -> None:
    records = records_of(Scenario().started(PHASES))
    verification = await verify(shown(len(records)), given(records))
    assert verification.whole
    assert verification.records == len(records)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"event_count": 99}, "to 98 are not in the log"),
        ({"quarantine": "record 7 at offset 9 does not extend the chain"}, "in quarantine: record 7 at offset 9"),
    ],
)
async def test_what_the_service_knows_and_its_records_do_not_show_is_harm(changes: Any, fault: str) -> None:
    records = records_of(Scenario().started(PHASES))
    verification = await verify({**shown(len(records)), **changes}, given(records))
    assert fault in (verification.fault or "")


def shown(event_count: int, run_id: str = "run-1") -> dict[str, Any]:
    return {"run_id": run_id, "event_count": event_count, "quarantine": None}


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (lambda records: [records[0].replace(b"P1", b"P9"), *records[1:]], "record 1 does not follow record 0"),
        (lambda records: [*records[:2], *records[3:]], "record 3 does not follow record 1"),
        (lambda records: [records[0], records[2], records[1], *records[3:]], "record 2 does not follow record 0"),
        (lambda records: [*records[:2], records[1], *records[2:]], "record 1 does not follow record 1"),
        (lambda records: [*records, records[1].replace(b'"id":"', b'"id":"0', 1)], "record 1 does not follow"),
        (lambda records: records[1:], "record 1 does not follow record -1"),
        (lambda records: [*records[:2], b"{}"], "record 2 cannot be read"),
        (lambda records: [], "there is no record"),
    ],
)
async def test_harm_to_a_history_is_found(harm: object, fault: str) -> None:
    records = records_of(Scenario().started([{"phase_id": "P1"}]))
    verification = await verify(shown(len(records)), given(harm(records)))
    assert not verification.whole
    assert fault in (verification.fault or "")


async def test_records_of_another_run_are_no_part_of_a_history() -> None:
    verification = await verify(shown(1, "run-2"), given(records_of(Scenario().started(PHASES))))
    assert "another run" in (verification.fault or "")


async def test_a_retry_takes_up_what_was_not_completed_from_the_last_snapshot() -> None:
    scenario = Scenario().started(PHASES, max_phases=7)
    scenario.completed("P1", 5)
    scenario.cancelled()
    service = RecordedRun(records_of(scenario))
    request = await remaining_request(service, "run-1", "run-1b")
    assert [phase.phase_id for phase in request.phases] == ["P2", "P3"]
    assert [phase.depends_on for phase in request.phases] == [(), ("P2",)]
    assert request.base == f"{5:040x}"
    assert (request.run_id, request.retry_of, request.max_phases) == ("run-1b", "run-1", 7)
    RunRequested.model_validate(request.model_dump())


async def test_a_run_that_goes_on_or_is_complete_is_not_retried() -> None:
    scenario = Scenario().started([{"phase_id": "P1"}])
    with pytest.raises(WrongUsage, match="has not ended"):
        await remaining_request(RecordedRun(records_of(scenario)), "run-1", None)
    scenario.completed("P1")
    with pytest.raises(WrongUsage, match="completed every phase"):
        await remaining_request(RecordedRun(records_of(scenario)), "run-1", None)


def answering(status: int, content: bytes | list[bytes]) -> Client:
    async def chunks() -> AsyncIterator[bytes]:
        for chunk in content if isinstance(content, list) else [content]:
            yield chunk

    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=chunks()))
    return Client(httpx.AsyncClient(transport=transport, base_url="http://service"))


async def test_a_refusal_is_told_in_the_service_s_words_with_every_fault() -> None:
    problem = b'{"detail": "the plan is bad", "errors": [{"pointer": "/phases/0", "detail": "unknown key"}]}'
    with pytest.raises(Refused, match="the plan is bad\n  /phases/0: unknown key") as caught:
        await answering(422, problem).start({})
    assert caught.value.status == 422


async def test_trouble_of_the_service_s_own_is_not_the_user_s_fault() -> None:
    with pytest.raises(ServiceUnreachable, match="in trouble: the log is away"):
        await answering(503, b'{"detail": "the log is away"}').run("r1")


async def test_records_come_whole_however_they_are_cut_on_the_way() -> None:
    text = '{"a":"\u2028\u0085x"}\n{"b":1}\n'.encode()
    chunks = [text[index : index + 3] for index in range(0, len(text), 3)]
    lines = [line async for line in answering(200, [*chunks, b"\n", b"{}"]).records("r1")]
    assert lines == ['{"a":"\u2028\u0085x"}'.encode(), b'{"b":1}', b"{}"]


async def test_the_address_of_a_service_that_was_killed_is_not_believed(tmp_path: Path) -> None:
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    settings = Settings(home=tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as somebody_else:
        url = f"http://127.0.0.1:{somebody_else.getsockname()[1]}"
        write_record(settings.service_file, ServiceRecord(url, ended.pid))
        async with service_at_hand(settings) as client:
            assert client is None
    assert read_record(settings.service_file) == ServiceRecord(url, ended.pid)
    remove_record(settings.service_file, ended.pid)
    assert read_record(settings.service_file) is None
