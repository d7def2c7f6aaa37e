"""A run whose repository asks for a preparation: made once, for every agent and every check of it."""

import json
from pathlib import Path

from services.settings import Settings
from support.builds import names, python_agent, repository, request, running

TOML = """
[prepare]
argv = ["sh", "setup.sh"]
paths = [".tools"]
[checks.normal]
tests = { argv = [".tools/check"] }
"""
SETUP = (
    "mkdir .tools && date +%N > .tools/made && "
    "printf '#!/bin/sh\\ncmp .tools/made P?.txt\\n' > .tools/check && chmod 755 .tools/check\n"
)
COPIES = (
    "[old.unlink() for old in pathlib.Path('.').glob('P?.txt')]\n"
    "pathlib.Path(request['phase']['phase_id'] + '.txt').write_text(pathlib.Path('.tools/made').read_text())"
)


async def test_agents_and_checks_of_all_phases_find_the_same_result(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    repo = repository(tmp_path / "repo", {"autopack.toml": TOML, "setup.sh": SETUP})
    async with running(postgres_settings, python_agent(tmp_path, "agent", COPIES)) as build:
        await build.start(request(repo, phases=2))
        end = await build.end()
        history = await build.history()
    assert end["data"]["state"] == "DONE_SUCCESS", json.dumps(end["data"])
    assert names(history).count("ChecksPassed") == 2


async def test_a_preparation_that_fails_ends_the_run_and_says_why(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    repo = repository(tmp_path / "repo", {"autopack.toml": TOML, "setup.sh": "echo no such package >&2; exit 9\n"})
    async with running(postgres_settings, python_agent(tmp_path, "agent", COPIES)) as build:
        await build.start(request(repo))
        end = await build.end()
    assert end["data"]["state"] == "DONE_FAILED_ENVIRONMENT"
    assert "no such package" in end["data"]["reason"]
