"""Requests that a client sends again, because no answer reached it."""

from pathlib import Path

from services.settings import Settings
from support.builds import WRITES_A_FILE, python_agent, repository, request
from support.service import serving


async def test_a_repeated_key_starts_no_second_run_where_the_body_names_no_run_id(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    agent = python_agent(tmp_path, "agent", WRITES_A_FILE)
    body = request(repository(tmp_path / "repo"))
    del body["run_id"]
    once = {"Idempotency-Key": "nightly-17"}
    async with serving(postgres_settings, agent) as (_, client):
        first = await client.post("/runs/start", json=body, headers=once)
        again = await client.post("/runs/start", json=body, headers=once)
        other = await client.post("/runs/start", json=body)
        listed = (await client.get("/runs")).json()["runs"]
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 201)
    assert again.json()["run_id"] == first.json()["run_id"]
    assert {run["run_id"] for run in listed} == {first.json()["run_id"], other.json()["run_id"]}


async def test_a_key_that_was_used_for_another_run_is_refused(postgres_settings: Settings, tmp_path: Path) -> None:
    agent = python_agent(tmp_path, "agent", WRITES_A_FILE)
    repo = repository(tmp_path / "repo")
    once = {"Idempotency-Key": "nightly-17"}
    async with serving(postgres_settings, agent) as (_, client):
        await client.post("/runs/start", json=request(repo), headers=once)
        other = await client.post("/runs/start", json=request(repo, run_id="run-2"), headers=once)
        listed = (await client.get("/runs")).json()["runs"]
    assert [run["run_id"] for run in listed] == ["run-1"]
    assert (other.status_code, other.json()["reason"]) == (409, "key_taken")
    assert "run-1" in other.json()["detail"]
