"""Requests that no well-behaved client sends: each gets an answer that says what is wrong with it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from services.compose import Service
from services.settings import Settings
from support.builds import Build, request
from support.service import serving

SERVICES = frozenset({Service.API, Service.PROJECTOR, Service.SUPERVISOR})
TRACKED = {"agents": {"builder": "external"}, "repository": None}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def served(postgres_settings: Settings) -> AsyncIterator[tuple[Build, httpx.AsyncClient]]:
    async with serving(postgres_settings, services=SERVICES) as (build, client):
        yield build, client


def plan(**changes: Any) -> dict[str, Any]:
    """A run that only tracks: nothing is asked of any worker."""
    return {**request(None), **TRACKED, **changes}


def problem(answer: httpx.Response, status: int) -> Any:
    assert answer.status_code == status, (answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    return body


async def test_a_body_is_read_up_to_its_limit_and_no_further(served: tuple[Build, httpx.AsyncClient]) -> None:
    _, client = served
    large = json.dumps(plan(phases=[{"description": "x" * 600_000}])).encode()
    told = await client.post("/runs/start", content=large, headers=JSON)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 65_536):
            yield large[start : start + 65_536]

    untold = await client.post("/runs/start", content=chunks(), headers=JSON)
    for answer in (told, untold):
        assert "524288" in problem(answer, 413)["detail"]
    cancelled = await client.post("/runs/run-1/cancel", content=b'{"reason": "' + large, headers=JSON)
    problem(cancelled, 413)
    assert (await client.get("/health/live")).status_code == 200


async def test_a_plan_that_is_too_large_for_one_record_is_too_large(
    served: tuple[Build, httpx.AsyncClient],
) -> None:
    """Its body fits; what is left out of it is filled in, and then it does not."""
    build, client = served
    phases = [{"phase_id": f"P{n}", "description": "x" * 2_050} for n in range(245)]
    body = json.dumps(plan(**{**request(None, phases), **TRACKED}), separators=(",", ":")).encode()
    assert len(body) < 524_288
    answer = problem(await client.post("/runs/start", content=body, headers=JSON), 413)
    assert answer["reason"] == "too_large"
    assert await build.history() == []


@pytest.mark.parametrize(
    "content",
    [
        b'{"token_cap": NaN}',
        b'{"token_cap": 1e999}',
        b'{"max_cost_usd": -Infinity, "surprise": [NaN]}',
        b'{"\\ud800": 1}',
        b'{"run_id": "\\udfff"}',
        b'{"run_id": 7, "\\u0000": {"a": 1}}',
        b'{"run_id": "a\\r\\nSet-Cookie: x=1"}',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'"a string"',
        b"[]",
        b"null",
        b"",
        b"\xff\xfe",
        b'{"run": 7}',
        b'{"run": {"run_id": NaN}, "tiers": {}, "phases": 3}',
    ],
)
async def test_a_body_that_is_no_plan_is_refused(served: tuple[Build, httpx.AsyncClient], content: bytes) -> None:
    _, client = served
    answer = await client.post("/runs/start", content=content, headers=JSON)
    assert answer.status_code in (400, 422)
    body = problem(answer, answer.status_code)
    assert body["detail"]


async def test_what_cannot_be_read_is_told_with_its_line_and_column(
    served: tuple[Build, httpx.AsyncClient],
) -> None:
    build, client = served
    for content, place, said in (
        (b'{"run_id": "a",\n "phases": [{"name": 1, "name": 2}]}', ("/phases/0/name", 2, 25), "is given twice"),
        (b'{"run_id": "a",\n  run}', ("", 2, 3), "property name"),
        (b'{"run_id": "\xff"}', ("", 1, 13), "not utf-8"),
    ):
        told = problem(await client.post("/runs/start", content=content, headers=JSON), 422)
        (error,) = told["errors"]
        assert (error["pointer"], error["line"], error["column"]) == place
        assert said in error["detail"]
        assert told["detail"][0]["type"] == "json_invalid"
    twice = await client.post("/runs/run-1/cancel", content=b'{"reason": "a", "reason": "b"}', headers=JSON)
    assert "'reason' is given twice" in problem(twice, 422)["errors"][0]["detail"]
    assert await build.history() == []


async def test_a_repository_that_is_relative_to_nothing_is_refused(
    served: tuple[Build, httpx.AsyncClient],
) -> None:
    build, client = served
    for repository in ("shop", "./shop", "../shop.git"):
        body = {**request(None), "repository": repository}
        told = problem(await client.post("/runs/start", json=body), 400)
        assert [error["pointer"] for error in told["errors"]] == ["/repository"]
        assert "absolute path or a URL" in told["detail"]
    assert await build.history() == []


async def test_countless_faults_are_named_up_to_a_hundred(served: tuple[Build, httpx.AsyncClient]) -> None:
    _, client = served
    body = plan(phases=[{**request(None)["phases"][0], "depends_on": ["x"] * 50_000}])
    answer = problem(await client.post("/runs/start", json=body), 400)
    assert len(answer["errors"]) == 100
    wrong = problem(await client.post("/runs/start", json=plan(phases=[7] * 50_000)), 422)
    assert len(wrong["errors"]) == len(wrong["detail"]) == 100


def _odd_queries() -> Iterator[tuple[str, int]]:
    yield "/runs?cursor=junk", 400
    yield "/runs?cursor=2026-01-01T00:00:00%2B00:00~99999999999999999999999", 400
    yield "/runs?cursor=2026-01-01T00:00:00~1", 400
    yield f"/runs?cursor={'9' * 5000}~{'9' * 5000}", 400
    yield "/metrics/runs?cursor=0001-01-01T00:00:00%2B14:00~1", 400
    yield "/runs?project=%00", 422
    yield "/runs?project=a%ED%A0%80", 200
    yield "/runs?limit=0", 422
    yield "/runs?limit=1e3", 422
    yield "/runs?state=NOWHERE", 422
    yield "/metrics/runs?status=", 200
    yield "/metrics/runs?status=BOGUS", 400
    yield f"/metrics/runs?status={'x' * 5000}", 400
    yield "/runs/a%00b", 404
    yield "/runs/%ED%A0%80", 404
    yield "/runs/run-1?project=a%00b", 404
    yield f"/runs/{'x' * 5000}", 404
    yield "/runs/run-1/events?after=99999999999999999999", 422
    yield "/runs/a%00b/events", 404
    yield "/runs/a%00b/output", 404
    yield "/reports/run_summary/a%00b", 404
    yield "/nowhere", 404


async def test_odd_queries_are_answered_as_what_they_are(served: tuple[Build, httpx.AsyncClient]) -> None:
    _, client = served
    assert (await client.post("/runs/start", json=plan())).status_code == 201
    for path, status in _odd_queries():
        answer = await client.get(path)
        assert answer.status_code == status, (path, answer.status_code, answer.text[:300])
        if status != 200:
            problem(answer, status)
    wrong = problem(await client.get("/metrics/runs?status=BOGUS"), 400)
    assert wrong["detail"].startswith("Invalid run state")
    unfit = problem(await client.get("/runs?state=NOWHERE"), 422)
    assert [fault["parameter"] for fault in unfit["errors"]] == ["state"]
    assert [fault["loc"] for fault in unfit["detail"]] == [["query", "state"]]
    problem(await client.post("/runs/a%00b/cancel"), 404)
    problem(await client.delete("/runs"), 405)


@pytest.mark.parametrize("prefer", ["wait=" + "9" * 5000, "wait=-1", "wait=", "wait=0.5", ";;,wait=1;x"])
async def test_an_odd_preference_is_no_fault(served: tuple[Build, httpx.AsyncClient], prefer: str) -> None:
    _, client = served
    answer = await client.post("/runs/start", json=plan(), headers={"Prefer": prefer})
    assert answer.status_code in (201, 202)


async def test_a_key_of_one_command_is_not_taken_for_that_of_another(
    served: tuple[Build, httpx.AsyncClient],
) -> None:
    """A client that gives each run one key must still be able to cancel it."""
    build, client = served
    once = {"Idempotency-Key": "nightly-17"}
    assert (await client.post("/runs/start", json=plan(), headers=once)).status_code == 201
    assert (await client.post("/runs/start", json=plan(run_id="run-2"))).status_code == 201
    for run_id in ("run-1", "run-2"):
        cancelled = await client.post(f"/runs/{run_id}/cancel", headers=once)
        assert cancelled.status_code == 202, cancelled.text
        ended = await build.end(run_id)
        assert ended["data"]["state"] == "DONE_FAILED_CANCELLED"


async def test_a_repeated_cancellation_under_one_key_is_one(served: tuple[Build, httpx.AsyncClient]) -> None:
    build, client = served
    await client.post("/runs/start", json=plan())
    once = {"Idempotency-Key": "stop"}
    answers = await asyncio.gather(*(client.post("/runs/run-1/cancel", headers=once) for _ in range(3)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    requested = [e for e in await build.history() if e["type"] == "autopack.RunCancelRequested.v1"]
    assert len(requested) == 1
