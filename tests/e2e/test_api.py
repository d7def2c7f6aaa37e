"""The HTTP API, asked as a client asks it, over all services on real servers."""

import asyncio
import json
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from services.compose import Service
from services.settings import Settings
from support.builds import WRITES_A_FILE, python_agent, repository, request
from support.service import serving


@pytest.fixture
def agent(tmp_path: Path) -> tuple[str, ...]:
    return python_agent(
        tmp_path, "agent", f"{WRITES_A_FILE}\nreport(tokens={{'input': 100, 'output': 20}}, summary='done')"
    )


async def _ended(client: httpx.AsyncClient, run_id: str = "run-1") -> dict[str, object]:
    """The run once it has ended. A start may be answered, 202, before its run is to be seen."""
    async with asyncio.timeout(60):
        while True:
            answer = await client.get(f"/runs/{run_id}")
            body: dict[str, object] = answer.json()
            if answer.status_code == 200 and str(body["state"]).startswith("DONE_"):
                return body
            await asyncio.sleep(0.05)


async def test_a_start_answers_when_the_run_is_accepted_and_the_run_ends_in_a_branch(
    log_settings: Settings, tmp_path: Path, agent: tuple[str, ...]
) -> None:
    repo = repository(tmp_path / "repo")
    async with serving(log_settings, agent) as (_, client):
        started = await client.post("/runs/start", json=request(repo, 2))
        assert started.status_code == 201, started.text
        assert started.json()["id"] == started.json()["run_id"] == "run-1"
        assert started.json()["base_commit"] is not None
        assert " " not in started.text.replace("Phase 1", "").replace("Phase 2", "")
        run = await _ended(client)
    assert run["state"] == "DONE_SUCCESS"
    assert run["tokens_used"] == 240
    assert run["ci_runs_used"] == 2
    phases = run["tiers"][0]["phases"]
    assert [phase["state"] for phase in phases] == ["COMPLETE", "COMPLETE"]
    assert all("tier_id" not in phase for phase in phases)


async def test_a_start_answers_when_the_run_has_failed_in_its_preparation(
    postgres_settings: Settings, tmp_path: Path, agent: tuple[str, ...]
) -> None:
    async with serving(postgres_settings, agent) as (_, client):
        started = await client.post("/runs/start", json=request(tmp_path / "nowhere"))
    assert started.status_code == 201, started.text
    assert started.json()["state"] == "DONE_FAILED_ENVIRONMENT"
    assert "no git repository" in started.json()["failure_reason"]


async def test_the_history_comes_as_the_exact_bytes_of_its_records(
    postgres_settings: Settings, tmp_path: Path, agent: tuple[str, ...]
) -> None:
    repo = repository(tmp_path / "repo")
    async with serving(postgres_settings, agent) as (_, client):
        await client.post("/runs/start", json=request(repo))
        await client.post("/runs/start", json=request(repo, run_id="run-2"))
        streamed = await client.get(
            "/runs/run-1/events", params={"follow": "true"}, headers={"Accept": "application/x-ndjson"}
        )
        pages = []
        after = -1
        while after is not None:
            page = (await client.get("/runs/run-1/events", params={"after": after, "limit": 7})).json()
            pages += page["events"]
            after = page["next_after"]
    lines = streamed.content.splitlines()
    digest = "0" * 64
    for number, line in enumerate(lines):
        event = json.loads(line)
        assert (event["runid"], event["sequence"], event["prevhash"]) == ("run-1", number, digest)
        digest = sha256(line).hexdigest()
    assert json.loads(lines[-1])["type"] == "autopack.RunCompleted.v1"
    assert [event["sequence"] for event in pages] == list(range(len(lines)))


async def test_what_follows_from_a_request_belongs_to_its_trace(
    postgres_settings: Settings, tmp_path: Path, agent: tuple[str, ...]
) -> None:
    repo, trace = repository(tmp_path / "repo"), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with serving(postgres_settings, agent) as (_, client):
        headers = {"traced": trace, "odd": f"{trace}-x", "unknown": f"00-{'0' * 32}{trace[35:]}"}
        for run_id, header in headers.items():
            await client.post("/runs/start", json=request(repo, run_id=run_id), headers={"traceparent": header})
        told = {}
        for run_id in headers:
            await _ended(client, run_id)
            events = await client.get(f"/runs/{run_id}/events", headers={"Accept": "application/x-ndjson"})
            told[run_id] = {json.loads(line).get("traceparent") for line in events.text.splitlines()}
    assert told == {"traced": {trace}, "odd": {None}, "unknown": {None}}


async def test_bad_requests_are_named_and_nothing_is_stored(
    postgres_settings: Settings, tmp_path: Path, agent: tuple[str, ...]
) -> None:
    repo = repository(tmp_path / "repo")
    plan = request(repo, [{"phase_id": "A", "depends_on": ["B"]}, {"phase_id": "B", "depends_on": ["A"]}])
    async with serving(postgres_settings, agent) as (build, client):
        cycle = await client.post("/runs/start", json=plan)
        unknown = await client.post("/runs/start", json={**request(repo), "surprise": 1})
        broken = await client.post("/runs/start", content=b"{", headers={"Content-Type": "application/json"})
        stray = await client.post("/runs/start", json={**request(repo), "tiers": []})
        checks = {"normal": [{"name": "tests", "argv": 7}]}
        unfit = await client.post("/runs/start", json={**request(repo), "checks": checks})
        missing = await client.get("/runs/nowhere")
        history = await build.history()
    assert cycle.status_code == 400
    assert "cycle: A -> B -> A" in cycle.text
    assert unknown.status_code == 422
    assert unknown.json()["errors"] == [{"pointer": "/surprise", "detail": "Extra inputs are not permitted"}]
    assert [fault["pointer"] for fault in stray.json()["errors"]] == ["/phases/0/tier_id"]
    assert [fault["pointer"] for fault in unfit.json()["errors"]] == ["/checks/normal/0/argv"]
    assert [fault["loc"] for fault in unfit.json()["detail"]] == [["body", "checks", "normal", 0, "argv"]]
    assert [fault["pointer"] for fault in broken.json()["errors"]] == [""]
    assert broken.status_code == 422
    assert (missing.status_code, missing.json()["detail"]) == (404, "Run nowhere not found")
    assert missing.headers["content-type"] == "application/problem+json"
    assert history == []


async def test_a_taken_run_id_is_refused_and_the_same_command_again_is_not(
    postgres_settings: Settings, tmp_path: Path, agent: tuple[str, ...]
) -> None:
    repo = repository(tmp_path / "repo")
    once = {"Idempotency-Key": "nightly-17"}
    async with serving(postgres_settings, agent) as (build, client):
        first = await client.post("/runs/start", json=request(repo), headers=once)
        again = await client.post("/runs/start", json=request(repo), headers=once)
        other = await client.post("/runs/start", json=request(repo))
        requested = [e for e in await build.history() if e["type"] == "autopack.RunRequested.v1"]
    assert (first.status_code, again.status_code) == (201, 201)
    assert (other.status_code, other.json()["reason"]) == (400, "duplicate_run_id")
    assert len(requested) == 1


async def test_a_run_id_of_two_projects_has_to_be_told_apart(
    postgres_settings: Settings, tmp_path: Path, agent: tuple[str, ...]
) -> None:
    repo = repository(tmp_path / "repo")
    async with serving(postgres_settings, agent) as (_, client):
        await client.post("/runs/start", json=request(repo))
        await client.post("/runs/start", json=request(repo, project="till"))
        both = await client.get("/runs/run-1")
        one = await client.get("/runs/run-1", params={"project": "till"})
        listed = (await client.get("/runs", params={"limit": 1})).json()
        rest = (await client.get(f"/runs?limit=1&cursor={listed['next']}")).json()  # as a shell would write it
    assert (both.status_code, both.json()["projects"]) == (409, ["shop", "till"])
    assert one.json()["project"] == "till"
    assert [listed["runs"][0]["project"], rest["runs"][0]["project"]] == ["till", "shop"]
    assert rest["next"] is None


async def test_cancelling_ends_the_run_once(postgres_settings: Settings, tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    agent = python_agent(tmp_path, "agent", "import time; time.sleep(600)")
    async with serving(postgres_settings, agent) as (_, client):
        await client.post("/runs/start", json=request(repo))
        cancelled = await client.post("/runs/run-1/cancel", json={"reason": "enough"})
        run = await _ended(client)
        again = await client.post("/runs/run-1/cancel")
    assert cancelled.status_code == 202
    assert (run["state"], run["failure_reason"]) == ("DONE_FAILED_CANCELLED", "enough")
    assert (again.status_code, again.json()["reason"]) == (409, "run_ended")


async def test_a_command_without_a_supervisor_is_kept_and_answered_202(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    repo = repository(tmp_path / "repo")
    reading = frozenset({Service.API, Service.PROJECTOR})
    async with serving(postgres_settings, services=reading) as (_, client):
        answer = await client.post("/runs/start", json=request(repo), headers={"Prefer": "wait=0"})
    assert answer.status_code == 202
    assert answer.json()["status_url"] == "/runs/run-1?project=shop"
    async with serving(postgres_settings) as (build, client):
        await build.end()
        assert (await client.get("/metrics/runs")).json()["total_runs"] == 1


async def test_monitors_see_counters_and_readiness(
    postgres_settings: Settings, tmp_path: Path, agent: tuple[str, ...]
) -> None:
    async with serving(postgres_settings, agent) as (_, client):
        await client.post("/runs/start", json=request(repository(tmp_path / "repo")))
        await _ended(client)
        metrics = (await client.get("/metrics")).text
        live = (await client.get("/health/live")).json()
    assert 'autopack_runs{state="DONE_SUCCESS"} 1.0' in metrics
    assert 'autopack_projection_lag{partition="0",projection="runs",topic="autopack.events"}' in metrics
    assert 'autopack_waiting{kind="build"} 0.0' in metrics
    assert 'autopack_oldest_waiting_seconds{kind="run"} 0.0' in metrics
    assert live == {"status": "alive"}
