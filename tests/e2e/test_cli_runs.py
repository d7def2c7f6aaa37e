"""`autopack run` as a user starts it: real processes, Postgres, git and sandbox."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from support.command_line import AUTOPACK, CommandLine, until

PROMISED = {
    *("run_id", "project", "state", "failure_reason", "repository", "integration_branch", "base_commit"),
    *("head_commit", "tokens_used", "ci_runs_used", "duration_seconds", "tiers", "run_files"),
}
SLEEPS_FOR_EVER = "import time\nprint('asleep', flush=True)\nopen('begun', 'w').close()\ntime.sleep(3600)\n"


def lives(marker: Path) -> bool:
    """Whether a process has this path on its command line."""
    return any(str(marker) in (process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))


async def test_a_plan_becomes_a_green_branch_and_the_checkout_is_untouched(cli: CommandLine) -> None:
    (cli.repository / "notes.txt").write_text("mine, not committed")
    before = cli.git("status", "--porcelain"), cli.git("rev-parse", "HEAD")
    done = await cli.run("run", cli.plan(run_id="shop-1"), "--repo", "shop", "--builder-command", cli.builder())
    assert done.exit_code == 0, done.err
    assert done.err == ""
    assert "\x1b" not in done.out
    assert "DONE_SUCCESS" in done.out
    assert (cli.git("status", "--porcelain"), cli.git("rev-parse", "HEAD")) == before
    names = cli.git("ls-tree", "--name-only", "autonomous/shop-1").split()
    assert names == ["P1.txt", "P2.txt", "autopack.toml", "totals.py"]
    assert cli.git("tag", "--list").split() == [
        "autonomous/shop-1/tier-T1/phase-P1",
        "autonomous/shop-1/tier-T1/phase-P2",
    ]
    assert (cli.home / ".autonomous_runs" / "shop-1" / "run_summary.md").exists()


async def test_with_json_there_is_one_document_on_stdout_and_the_rest_on_stderr(cli: CommandLine) -> None:
    done = await cli.run(
        "run", cli.plan(), "--repo", "shop", "--run-id", "j1", "--json", "--builder-command", cli.builder()
    )
    assert done.exit_code == 0, done.err
    run = done.document
    assert run.keys() >= PROMISED
    assert run["state"] == "DONE_SUCCESS"
    assert run["head_commit"] == cli.git("rev-parse", "autonomous/j1")
    assert run["base_commit"] == cli.git("rev-parse", "main")
    assert Path(run["run_files"]).is_dir()
    phases = [phase for tier in run["tiers"] for phase in tier["phases"]]
    assert [(phase["phase_id"], phase["state"], phase["attempts"]) for phase in phases] == [
        ("P1", "COMPLETE", 1),
        ("P2", "COMPLETE", 1),
    ]
    assert [cli.git("rev-parse", phase["tag"]) for phase in phases] == [phase["commit"] for phase in phases]
    assert "SnapshotCreated" in done.err


async def test_a_run_that_fails_exits_with_1_and_says_why(cli: CommandLine) -> None:
    builder = cli.builder(source="import sys\nsys.exit('the model is on holiday')\n")
    done = await cli.run("run", cli.plan(), "--repo", "shop", "--run-id", "f1", "--builder-command", builder)
    assert done.exit_code == 1
    assert "DONE_FAILED_REQUIRES_HUMAN_REVIEW" in done.out
    assert "the model is on holiday" in done.out
    assert cli.git("branch", "--list", "autonomous/*") == ""


async def test_without_an_agent_the_run_says_what_is_missing(cli: CommandLine) -> None:
    done = await cli.run("run", cli.plan(), "--repo", "shop", "--json")
    assert done.exit_code == 1
    assert done.document["state"] == "DONE_FAILED_ENVIRONMENT"
    assert "agents.toml" in done.document["failure_reason"]


async def test_a_base_that_is_not_there_ends_the_run_as_unfit_environment(cli: CommandLine) -> None:
    done = await cli.run("run", cli.plan(), "--repo", "shop", "--base", "nowhere", "--json")
    assert done.exit_code == 1
    assert done.document["state"] == "DONE_FAILED_ENVIRONMENT"
    assert "nowhere" in done.document["failure_reason"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_or_sigterm_cancels_the_run_kills_its_agent_and_exits_with_130(
    cli: CommandLine, sent: signal.Signals
) -> None:
    builder = cli.builder(source=SLEEPS_FOR_EVER)
    process = await cli.start("run", cli.plan(), "--repo", "shop", "--run-id", "c1", "--builder-command", builder)
    await until(cli.builds_begun, "the build to begin")
    process.send_signal(sent)
    done = await cli.finished(process)
    assert done.exit_code == 130
    assert "Cancelling c1" in done.err
    assert "DONE_FAILED_CANCELLED" in done.err
    assert not lives(cli.folder / "builder.py")
    status = await cli.run("status", "c1", "--json")
    assert status.document["state"] == "DONE_FAILED_CANCELLED"


async def test_a_second_ctrl_c_leaves_at_once_and_leaves_nothing_running(cli: CommandLine) -> None:
    builder = cli.builder(source=SLEEPS_FOR_EVER)
    process = await cli.start("run", cli.plan(), "--repo", "shop", "--builder-command", builder)
    await until(cli.builds_begun, "the build to begin")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    await asyncio.sleep(0)
    while process.returncode is None:
        # Not by the process object: it looks whether the child has ended, and asyncio then never learns how.
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)
        await asyncio.sleep(0.05)
    assert (await cli.finished(process)).exit_code == 130
    await until(lambda: not lives(cli.folder / "builder.py"), "the agent to be dead")


async def test_after_a_kill_the_same_command_goes_on_with_what_was_open(cli: CommandLine) -> None:
    gate = cli.folder / "gate"
    gate.mkdir()
    arguments = ("run", cli.plan(), "--repo", "shop", "--run-id", "k1", "--builder-command", cli.builder(gate))
    process = await cli.start(*arguments)
    await until(cli.builds_begun, "the build to begin")
    process.kill()
    await cli.finished(process)
    await until(lambda: not lives(cli.folder / "builder.py"), "the agent to die with its service")
    assert "No service runs" in (await cli.run("status", "k1")).err
    (gate / "open").touch()
    done = await cli.run(*arguments)
    assert "No service runs" not in (await cli.run("status", "k1")).err
    assert done.exit_code == 0, done.err
    assert "going on with it" in done.err
    assert (await cli.run("audit", "verify", "k1")).exit_code == 0
    events = (await cli.run("events", "k1", "--json")).document
    claims = [event["data"] for event in events if event["type"].startswith("autopack.WorkStarted.")]
    assert any(claim.get("replaces") for claim in claims)
    assert sum(event["type"].startswith("autopack.RunRequested.") for event in events) == 1


async def test_an_id_that_is_taken_is_refused(cli: CommandLine) -> None:
    arguments = ("run", cli.plan(phases=1), "--repo", "shop", "--run-id", "t1", "--builder-command", cli.builder())
    assert (await cli.run(*arguments)).exit_code == 0
    again = await cli.run(*arguments)
    assert again.exit_code == 2
    assert "t1 already exists" in again.err


async def test_a_script_can_pipe_a_plan_and_the_checks_of_the_command_line_count(cli: CommandLine) -> None:
    done = await cli.run(
        *("run", cli.plan(phases=1), "--repo", "shop", "--json", "--builder-command", cli.builder()),
        *("--check", "test -e never.txt"),
    )
    assert done.exit_code == 1
    assert done.document["state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW"
    assert done.document["tiers"][0]["phases"][0]["attempts"] == 3


SAYS_IT_AGAIN = """\
import json, pathlib, sys, time
phase_id = json.load(sys.stdin)["phase"]["phase_id"]
pathlib.Path(f"{phase_id}.txt").write_text("built")
while not pathlib.Path(sys.argv[1], "open").exists():
    print("at work on", phase_id, flush=True)
    time.sleep(0.2)
"""


@asynccontextmanager
async def on_a_terminal(cli: CommandLine, builder: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A run on a terminal of its own, and the end of it at which somebody looks, not waited for."""
    leader, follower = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(str(AUTOPACK), "run", cli.plan(), "--repo", "shop", "--builder-command", builder),
        cwd=cli.folder,
        env={**cli.environment, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    os.set_blocking(leader, False)
    try:
        yield process, leader
    finally:
        if process.returncode is None:
            process.kill()


async def shown_until(word: str, leader: int) -> str:
    """What a terminal shows, up to a word."""
    shown = ""
    async with asyncio.timeout(60):
        while word not in shown:
            with suppress(BlockingIOError):
                shown += os.read(leader, 65536).decode(errors="replace")
            await asyncio.sleep(0.02)
    return shown


@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", "✓"), ("latin-1", "?")])
async def test_on_a_terminal_the_run_is_drawn_with_what_the_agent_says(
    cli: CommandLine, encoding: str, mark: str
) -> None:
    gate = cli.folder / "gate"
    gate.mkdir()
    cli.variables = {"PYTHONIOENCODING": encoding}
    async with on_a_terminal(cli, cli.builder(gate, source=SAYS_IT_AGAIN)) as (process, leader):
        shown = await shown_until("at work on P1", leader)
        (gate / "open").touch()
        shown += await asyncio.to_thread(read_all, leader)
        assert await process.wait() == 0
    assert "\x1b[" in shown
    assert f"{mark} P1" in shown
    assert "COMPLETE" in shown
    assert "DONE_SUCCESS" in shown


async def test_a_second_ctrl_c_leaves_the_terminal_with_its_cursor(cli: CommandLine) -> None:
    async with on_a_terminal(cli, cli.builder(source=SLEEPS_FOR_EVER)) as (process, leader):
        shown = await shown_until("asleep", leader)
        process.send_signal(signal.SIGINT)
        shown += await shown_until("Cancelling", leader)
        process.send_signal(signal.SIGINT)
        shown += await asyncio.to_thread(read_all, leader)
        assert await process.wait() == 130
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") > 0


async def test_what_an_encoding_lacks_shows_as_a_question_mark(cli: CommandLine) -> None:
    cli.variables = {"PYTHONIOENCODING": "latin-1"}
    done = await cli.run("run", cli.plan(), "--repo", "shop", "--run-id", "r1", "--builder-command", cli.builder())
    assert done.exit_code == 0, done.err
    for command in ("status", "report"):
        done = await cli.run(command, "r1")
        assert done.exit_code == 0, done.err
        assert "? P1" in done.out


def read_all(descriptor: int) -> str:
    """What is written to a terminal until nobody has it open any more."""
    os.set_blocking(descriptor, True)
    chunks = []
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(descriptor)
    return b"".join(chunks).decode(errors="replace")


async def test_commands_of_the_command_line_stand_in_no_event(cli: CommandLine) -> None:
    done = await cli.run("run", cli.plan(), "--repo", "shop", "--run-id", "s1", "--builder-command", cli.builder())
    assert done.exit_code == 0, done.err
    events = await cli.run("events", "s1", "--json")
    assert "builder.py" not in events.out
    assert json.loads(events.out)[0]["data"]["agents"]["builder"] is None


async def test_a_command_given_by_a_path_is_meant_from_where_the_user_is(cli: CommandLine) -> None:
    cli.builder()
    script = cli.folder / "agent"
    script.write_text('#!/bin/sh\nexec python3 "$1"\n')
    script.chmod(0o755)
    done = await cli.run(
        *("run", cli.plan(phases=1), "--repo", "shop", "--builder-command", "./agent ./builder.py")
    )
    assert done.exit_code == 0, done.err + done.out


async def test_a_log_made_otherwise_is_a_named_failure(cli: CommandLine) -> None:
    first = await cli.run("run", cli.plan(phases=1), "--repo", "shop", "--builder-command", cli.builder())
    assert first.exit_code == 0, first.err
    cli.variables = {"AUTOPACK_PARTITIONS": "3"}
    other = await cli.run("run", cli.plan(phases=1), "--repo", "shop", "--builder-command", cli.builder())
    assert other.exit_code == 1
    assert "with 8 partitions, for ever, not 3" in other.err


async def test_a_file_of_agents_that_cannot_be_meant_is_wrong_usage(cli: CommandLine) -> None:
    missing = cli.folder / "none.toml"
    cli.variables = {"AUTOPACK_AGENTS": str(missing)}
    done = await cli.run("run", cli.plan(), "--repo", "shop")
    assert done.exit_code == 2, done.err
    assert str(missing) in done.err
