"""What a cancelled run has cost: its agents are told to stop, and what they used until then counts."""

import asyncio
from pathlib import Path
from typing import Any

from events.catalogue import Topic
from services.settings import Settings
from support.builds import Build, python_agent, repository, request, running, submitted

DOCS = [{"phase_id": "P1", "task_category": "docs"}]
AUDITED = [{"phase_id": "P1", "task_category": "index_registry_change"}]
WRITES = "pathlib.Path('made.txt').write_text('made')\nreport(tokens={'output': 100}, cost_usd=1.0)"
TELLS_AT_THE_END = """
import signal, time
def end(*_):
    report(tokens={'input': 5, 'output': 2}, cost_usd=0.25)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print('ready', flush=True)
time.sleep(600)
"""


async def _cancelled(build: Build, repo: Path, phases: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Cancel a run when its last agent says that it is ready; the history up to the terminal event."""
    await build.start(request(repo, phases))
    async with asyncio.timeout(60):
        while not any(b"ready" in record.value for record in await build.records(Topic.OUTPUT)):
            await asyncio.sleep(0.02)
    await build.log.submit(Topic.COMMANDS, [submitted("RunCancelRequested", {}, "run-1", "shop")])
    await build.end()
    return await build.history()


def _reports(history: list[dict[str, Any]], name: str) -> list[tuple[str, Any]]:
    told = [event["data"] for event in history if event["type"] == f"autopack.{name}.v1"]
    return [(data["failure"], data["usage"]["tokens"]) for data in told]


async def test_a_builder_that_is_told_to_stop_reports_what_it_used(log_settings: Settings, tmp_path: Path) -> None:
    async with running(log_settings, python_agent(tmp_path, "agent", TELLS_AT_THE_END)) as build:
        history = await _cancelled(build, repository(tmp_path / "repo"), DOCS)
    ((failure, tokens),) = _reports(history, "BuildFailed")
    assert (failure, tokens["input"], tokens["output"]) == ("revoked", 5, 2)
    end = history[-1]["data"]
    assert (end["state"], end["tokens_used"]) == ("DONE_FAILED_CANCELLED", 7)
    assert not end["tokens_are_lower_bound"]


async def test_an_auditor_that_is_told_to_stop_reports_what_it_used(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    builder, auditor = python_agent(tmp_path, "agent", WRITES), python_agent(tmp_path, "auditor", TELLS_AT_THE_END)
    async with running(postgres_settings, builder, auditor) as build:
        history = await _cancelled(build, repository(tmp_path / "repo"), AUDITED)
    ((failure, tokens),) = _reports(history, "AuditFailed")
    assert (failure, tokens["input"], tokens["output"]) == ("revoked", 5, 2)
    assert (history[-1]["data"]["tokens_used"], history[-1]["data"]["tokens_are_lower_bound"]) == (107, False)
