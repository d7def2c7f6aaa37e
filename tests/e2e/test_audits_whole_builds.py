"""Audits in whole builds: categories that demand one, verdicts of every kind, and auditors that misbehave."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from services.settings import Settings
from support.builds import Build, names, python_agent, repository, request, running
from support.repositories import git

AUDITED = [{"phase_id": "P1", "task_category": "debt_cleanup", "scope": ["*.txt"]}]
"""Two builder attempts, one audit each; never applied on the builder's word alone."""
TWO_AUDITS = [{"phase_id": "P1", "task_category": "index_registry_change", "scope": ["*.txt"]}]
ATTEMPT = "pathlib.Path('P1.txt').write_text(f\"attempt {request['attempt']}\\n\")"
REVISE = {
    "recommendation": "revise",
    "confidence": "high",
    "findings": [
        {"severity": "major", "path": "P1.txt", "line": 1, "message": "say please", "issue_key": "please"}
    ],
}
APPROVE = {"recommendation": "approve", "confidence": 0.9, "findings": [], "suggested_patches": []}
PATCH = """\
diff --git a/P1.txt b/P1.txt
--- a/P1.txt
+++ b/P1.txt
@@ -1 +1 @@
-attempt 1
+mended by the auditor
"""


def _auditor(folder: Path, *verdicts: Mapping[str, Any]) -> tuple[str, ...]:
    """An auditor that gives one verdict after another, told apart by what the diff holds."""
    cases = "\n".join(
        f"if {marker!r} in request['diff']:\n    print(json.dumps({verdict!r}))\n    sys.exit()"
        for marker, verdict in ((verdict.get("when", ""), _said(verdict)) for verdict in verdicts)
    )
    return python_agent(folder, "auditor", f"import sys\n{cases}")


def _said(verdict: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in verdict.items() if name != "when"}


async def _requests(build: Build, kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in await build.history() if event["type"] == f"autopack.{kind}.v1"]


async def test_an_audit_that_says_revise_goes_back_to_the_builder_and_approval_lets_it_land(
    log_settings: Settings, tmp_path: Path
) -> None:
    repo = repository(tmp_path / "repo")
    body = (
        f"{ATTEMPT}\nif request['attempt'] == 2:\n"
        "    assert 'say please' in json.dumps(request['feedback'])\n"
        "    pathlib.Path('P1.txt').write_text('please\\n')"
    )
    auditor = _auditor(tmp_path, {**REVISE, "when": "attempt 1"}, APPROVE)
    async with running(log_settings, python_agent(tmp_path, "agent", body), auditor) as build:
        await build.start(request(repo, AUDITED))
        end = (await build.end())["data"]
        history = await build.history()
        (first, second) = await _requests(build, "AuditRequested")
    assert end["state"] == "DONE_SUCCESS", end
    assert git(repo, "show", "autonomous/run-1:P1.txt") == "please"
    assert first["auditor_profile"] == "debt_cleanup_review"
    assert first["patches"] != second["patches"]
    order = [name for name in names(history) if name in ("BuildRequested", "AuditCompleted", "ApplyRequested")]
    assert order == ["BuildRequested", "AuditCompleted", "BuildRequested", "AuditCompleted", "ApplyRequested"]


async def test_an_auditors_own_patch_lies_on_top_goes_the_governed_way_and_gets_an_audit_of_its_own(
    log_settings: Settings, tmp_path: Path
) -> None:
    repo = repository(tmp_path / "repo")
    mending = {**REVISE, "suggested_patches": [PATCH]}
    auditor = _auditor(tmp_path, {**APPROVE, "when": "mended by the auditor"}, mending)
    async with running(log_settings, python_agent(tmp_path, "agent", ATTEMPT), auditor) as build:
        await build.start(request(repo, TWO_AUDITS))
        end = (await build.end())["data"]
        (first, second) = await _requests(build, "AuditRequested")
        applied = await _requests(build, "ApplyRequested")
        builds = await _requests(build, "BuildRequested")
    assert end["state"] == "DONE_SUCCESS", end
    assert git(repo, "show", "autonomous/run-1:P1.txt") == "mended by the auditor"
    assert (len(first["patches"]), len(second["patches"])) == (1, 2)
    assert [len(order["patches"]) for order in applied] == [2]
    assert len(builds) == 1
    assert git(repo, "rev-list", "--count", "main..autonomous/run-1") == "1"


async def test_a_hostile_patch_from_the_auditor_is_refused_like_a_builders(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    hostile = "diff --git a/.github/workflows/x.yml b/.github/workflows/x.yml\nnew file mode 100644\n"
    hostile += "--- /dev/null\n+++ b/.github/workflows/x.yml\n@@ -0,0 +1 @@\n+on: push\n"
    auditor = _auditor(tmp_path, {**APPROVE, "when": "workflows"}, {**REVISE, "suggested_patches": [hostile]})
    repo = repository(tmp_path / "repo")
    async with running(postgres_settings, python_agent(tmp_path, "agent", ATTEMPT), auditor) as build:
        await build.start(request(repo, TWO_AUDITS))
        end = (await build.end())["data"]
        rejected = await _requests(build, "PatchRejected")
    assert end["state"] == "DONE_FAILED_POLICY_VIOLATION", end
    assert {violation["path"] for refusal in rejected for violation in refusal["violations"]} == {
        ".github/workflows/x.yml"
    }
    assert git(repo, "branch", "--list", "autonomous/*") == ""


async def test_escalating_ends_the_run_for_a_person_to_look_at(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    escalate = {**REVISE, "recommendation": "escalate"}
    agent, auditor = python_agent(tmp_path, "agent", ATTEMPT), _auditor(tmp_path, escalate)
    async with running(postgres_settings, agent, auditor) as build:
        await build.start(request(repository(tmp_path / "repo"), TWO_AUDITS))
        end = (await build.end())["data"]
        history = await build.history()
    assert end["state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW"
    assert names(history).count("BuildRequested") == 1
    assert "ApplyRequested" not in names(history)


@pytest.mark.parametrize(
    ("says", "failure"),
    [
        ("print('looks good to me, approve')", "bad_answer"),
        ("print(json.dumps({'recommendation': 'approve'})[:-4])", "bad_answer"),
        ("print(json.dumps({'recommendation': 'approved', 'confidence': 1}))", "bad_answer"),
        ("print(json.dumps({'recommendation': 'approve', 'confidence': 7}))", "bad_answer"),
        ("print('[' * 10000)", "bad_answer"),
        ("pass", "bad_answer"),
        ("print(json.dumps({'recommendation': 'approve', 'confidence': 1})); sys.exit(3)", "exit_code"),
    ],
)
async def test_what_is_no_verdict_is_never_an_approval(
    postgres_settings: Settings, tmp_path: Path, says: str, failure: str
) -> None:
    agent, auditor = python_agent(tmp_path, "agent", ATTEMPT), python_agent(tmp_path, "auditor", says)
    repo = repository(tmp_path / "repo")
    async with running(postgres_settings, agent, auditor) as build:
        await build.start(request(repo, AUDITED))
        end = (await build.end())["data"]
        failed = await _requests(build, "AuditFailed")
        history = await build.history()
    assert end["state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW", end
    assert {verdict["failure"] for verdict in failed} == {failure}
    assert not {"AuditCompleted", "ApplyRequested", "SnapshotCreated"} & set(names(history))
    assert git(repo, "branch", "--list", "autonomous/*") == ""


async def test_without_an_auditor_a_category_that_demands_one_ends_as_a_fault_of_the_environment(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    async with running(postgres_settings, python_agent(tmp_path, "agent", ATTEMPT)) as build:
        await build.start(request(repository(tmp_path / "repo"), AUDITED))
        end = (await build.end())["data"]
    assert end["state"] == "DONE_FAILED_ENVIRONMENT"
    assert "a default auditor" in end["reason"]


async def test_the_auditor_sees_the_diff_and_neither_the_repository_nor_the_network(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    body = """
import socket
assert os.listdir('.') == [], os.listdir('.')
try:
    socket.create_connection(('127.0.0.1', 9), 1)
except OSError as error:
    refused = type(error).__name__
assert os.listdir('/sys/class/net') in (['lo'], []) if os.path.isdir('/sys/class/net') else True
assert '+attempt 1' in request['diff']
print(json.dumps({'recommendation': 'approve', 'confidence': 0.5}))
"""
    agent, auditor = python_agent(tmp_path, "agent", ATTEMPT), python_agent(tmp_path, "auditor", body)
    async with running(postgres_settings, agent, auditor) as build:
        await build.start(request(repository(tmp_path / "repo"), AUDITED))
        end = (await build.end())["data"]
    assert end["state"] == "DONE_SUCCESS", end
