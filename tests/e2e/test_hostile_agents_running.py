"""Agents and checks that misbehave while they run: missing, hanging, flooding, leaving daemons behind."""

import ast
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.settings import Settings
from support.builds import WRITES_A_FILE, Build, names, python_agent, repository, request, running
from support.repositories import git

ONE_ATTEMPT = "[ruleset]\ncheck_tries = 1\n[ruleset.categories.docs]\nbuilder_attempts = 1\n"
TWO_ATTEMPTS = ONE_ATTEMPT.replace("builder_attempts = 1", "builder_attempts = 2")
GREEN = '[checks.normal]\ntests = { argv = ["true"] }\n'
DOCS = [{"phase_id": "P1", "task_category": "docs"}]


def _configured(folder: Path, rules: str = ONE_ATTEMPT, checks: str = GREEN) -> Path:
    return repository(folder, {"autopack.toml": checks + rules})


def _with_agents(settings: Settings, folder: Path, argv: tuple[str, ...], **limits: object) -> Settings:
    """Settings whose agents.toml names this builder, with limits of its own."""
    words = ", ".join(f'"{word}"' for word in argv)
    lines = [f"{name} = {value}" for name, value in limits.items()]
    file = folder / "agents.toml"
    head = '[defaults]\nbuilder = "one"\n[builder.one]\nkind = "command"\n'
    file.write_text(f"{head}argv = [{words}]\n" + "\n".join(lines) + "\n")
    return settings.model_copy(update={"agents": file})


async def _failures(build: Build) -> list[tuple[str, str]]:
    """Class and reason of each failed build."""
    history = await build.history()
    failed = [event["data"] for event in history if event["type"] == "autopack.BuildFailed.v1"]
    return [(data["failure"], data["reason"]) for data in failed]


@pytest.mark.parametrize("argv", [("/no/such/agent",), ("no-such-agent-anywhere",)])
async def test_an_agent_that_is_missing_ends_the_run_as_a_fault_of_the_environment(
    postgres_settings: Settings, tmp_path: Path, argv: tuple[str, ...]
) -> None:
    async with running(_with_agents(postgres_settings, tmp_path, argv)) as build:
        await build.start(request(_configured(tmp_path / "repo", TWO_ATTEMPTS), DOCS))
        end = (await build.end())["data"]
        failures = await _failures(build)
    assert end["state"] == "DONE_FAILED_ENVIRONMENT", end
    assert [failure for failure, _ in failures] == ["missing_agent"]
    assert argv[0] in failures[0][1]


async def test_an_agent_that_nobody_configured_ends_the_run_as_a_fault_of_the_environment(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    repo = _configured(tmp_path / "repo")
    async with running(postgres_settings) as build:
        await build.start(request(repo, DOCS))
        await build.start(request(repo, DOCS, run_id="run-2", agents={"builder": "nobody"}))
        ends = [(await build.end(run_id))["data"] for run_id in ("run-1", "run-2")]
    assert [end["state"] for end in ends] == ["DONE_FAILED_ENVIRONMENT"] * 2
    assert "a default builder" in ends[0]["reason"]
    assert "'nobody'" in ends[1]["reason"]


async def test_a_hanging_agent_fails_its_attempt_and_the_next_one_may_do_better(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    body = "import time\nif request['attempt'] == 1: time.sleep(600)\n" + WRITES_A_FILE
    agent = python_agent(tmp_path, "agent", body)
    settings = _with_agents(postgres_settings, tmp_path, agent, timeout_seconds=10)
    async with running(settings) as build:
        await build.start(request(_configured(tmp_path / "repo", TWO_ATTEMPTS), DOCS))
        await build.start(request(_configured(tmp_path / "strict"), DOCS, run_id="run-2"))
        ends = [(await build.end(run_id))["data"] for run_id in ("run-1", "run-2")]
        failures = await _failures(build)
    assert ends[0]["state"] == "DONE_SUCCESS", ends[0]
    assert [failure for failure, _ in failures] == ["timeout"]
    assert ends[1]["state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW", ends[1]


async def test_a_silent_agent_is_ended_before_its_time(postgres_settings: Settings, tmp_path: Path) -> None:
    agent = python_agent(tmp_path, "agent", "import time\nprint('thinking', flush=True)\ntime.sleep(600)")
    settings = _with_agents(postgres_settings, tmp_path, agent, timeout_seconds=300.0, idle_seconds=1.0)
    async with running(settings) as build:
        await build.start(request(_configured(tmp_path / "repo"), DOCS))
        assert (await build.end())["data"]["state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW"
        assert [failure for failure, _ in await _failures(build)] == ["idle"]


FLOODS = """
line = b'x' * 1023 + b'\\n'
for stream in (1, 2):
    for _ in range(100):
        os.write(stream, line * 1024)
sys.stdout.buffer.write(b'\\xff' * (1 << 20))
"""


async def test_an_agent_that_floods_its_output_with_200_mb_is_clipped_and_may_succeed(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    agent = python_agent(tmp_path, "agent", FLOODS + WRITES_A_FILE)
    before = psutil.Process().memory_info().rss
    async with running(postgres_settings, agent) as build:
        await build.start(request(_configured(tmp_path / "repo"), DOCS))
        end = await build.end(seconds=100)
        grown = psutil.Process().memory_info().rss - before
        built = await build.until("autopack.BuildSucceeded.v1")
    assert end["data"]["state"] == "DONE_SUCCESS", end["data"]
    assert built["data"]["log"]["size_bytes"] <= 2 << 20
    assert grown < 150 << 20


DAEMON = """
import subprocess
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.environ.clear()
        subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', {marker!r}])
        import time
        time.sleep(600)
    os._exit(0)
def lives():
    return any({marker!r}.encode() in file.read_bytes() for file in pathlib.Path('/proc').glob('[0-9]*/cmdline'))
while not lives():
    pass
"""


def _alive(marker: str) -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if marker in (p.info["cmdline"] or [])]


async def test_a_daemon_that_an_agent_leaves_behind_is_dead_when_its_answer_is_known(
    log_settings: Settings, tmp_path: Path
) -> None:
    marker = f"daemon-of-{tmp_path.name}-{id(tmp_path)}"
    agent = python_agent(tmp_path, "agent", DAEMON.format(marker=marker) + WRITES_A_FILE)
    async with running(log_settings, agent) as build:
        await build.start(request(_configured(tmp_path / "repo"), DOCS))
        await build.until("autopack.BuildSucceeded.v1")
        assert _alive(marker) == []
        assert (await build.end())["data"]["state"] == "DONE_SUCCESS"


async def test_an_agent_that_changes_nothing_has_failed_whatever_it_says(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    told = "report(summary='all done', tokens={'input': 5})"
    async with running(postgres_settings, python_agent(tmp_path, "agent", told)) as build:
        await build.start(request(_configured(tmp_path / "repo"), DOCS))
        end = (await build.end())["data"]
        failures = await _failures(build)
    assert (end["state"], end["tokens_used"]) == ("DONE_FAILED_REQUIRES_HUMAN_REVIEW", 5)
    assert [failure for failure, _ in failures] == ["no_change"]


async def test_an_agent_that_fails_tells_its_reason_to_the_next_attempt(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    body = (
        "if request['attempt'] == 1: sys.exit('the compiler is on strike')\n"
        "assert 'on strike' in json.dumps(request['feedback'])\n" + WRITES_A_FILE
    )
    async with running(postgres_settings, python_agent(tmp_path, "agent", body)) as build:
        await build.start(request(_configured(tmp_path / "repo", TWO_ATTEMPTS), DOCS))
        assert (await build.end())["data"]["state"] == "DONE_SUCCESS"
        assert [failure for failure, _ in await _failures(build)] == ["exit_code"]


async def test_checks_that_hang_are_red_and_leave_nothing_behind(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    marker = f"check-of-{tmp_path.name}-{id(tmp_path)}"
    argv = [sys.executable, "-c", "import os, time; os.fork(); time.sleep(600)", marker]
    check = {"name": "hangs", "argv": argv, "timeout_seconds": 1.0}
    repo = _configured(tmp_path / "repo")
    async with running(postgres_settings, python_agent(tmp_path, "agent", WRITES_A_FILE)) as build:
        await build.start(request(repo, DOCS, checks={"normal": [check]}))
        end = (await build.end())["data"]
        failed = (await build.until("autopack.ChecksFailed.v1"))["data"]
    assert end["state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW", end
    outcomes: dict[str, Any] = {outcome["name"]: outcome["outcome"] for outcome in failed["checks"]}
    assert outcomes == {"tests": "passed", "hangs": "timed_out"}
    assert _alive(marker) == []
    assert git(repo, "branch", "--list", "autonomous/*") == ""


async def test_a_check_that_is_not_there_is_red_and_named(postgres_settings: Settings, tmp_path: Path) -> None:
    checks = {"normal": [{"name": "gone", "argv": ["./no-such-check"]}]}
    async with running(postgres_settings, python_agent(tmp_path, "agent", WRITES_A_FILE)) as build:
        await build.start(request(_configured(tmp_path / "repo"), DOCS, checks=checks))
        end = (await build.end())["data"]
        history = await build.history()
    assert end["state"].startswith("DONE_FAILED_")
    assert "gone" in end["reason"]
    assert "SnapshotCreated" not in names(history)


async def test_no_agent_sees_what_the_service_was_told_in_confidence(
    postgres_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AUTOPACK_TOKEN", "confidential-token")
    monkeypatch.setenv("DATABASE_PASSWORD", "confidential-password")
    body = (
        "print(dict(os.environ))\n"
        f"homes = [{str(tmp_path / 'home')!r}, os.path.expanduser('~'), '/root']\n"
        "seen = [name for home in homes if os.path.isdir(home) for name in os.listdir(home)]\n"
        "init = pathlib.Path('/proc/1/environ')\n"
        "inherited = init.read_bytes() if os.access(init, os.R_OK) else b''\n"
        "pathlib.Path('P1.txt').write_text(repr((dict(os.environ), seen, inherited)))\n"
    )
    repo = _configured(tmp_path / "repo")
    async with running(postgres_settings, python_agent(tmp_path, "agent", body)) as build:
        await build.start(request(repo, DOCS))
        assert (await build.end())["data"]["state"] == "DONE_SUCCESS"
    told = git(repo, "show", "autonomous/run-1:P1.txt")
    assert "confidential" not in told
    assert "postgresql://" not in told
    environment, seen, _ = ast.literal_eval(told)
    assert environment["AUTOPACK_REQUEST"]
    assert not {"artifacts", "mirrors", "prepared", ".ssh", ".git-credentials"} & set(seen)
