"""A service that stays, and every command that talks to it or reads what it left."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.command_line import CommandLine, until

HALF = """\
import json, pathlib, sys
request = json.load(sys.stdin)
if request["phase"]["phase_id"] == "P2" and not pathlib.Path(sys.argv[1], "open").exists():
    sys.exit("P2 cannot be built yet")
print("a word from", request["phase"]["phase_id"])
pathlib.Path(request["phase"]["phase_id"] + ".txt").write_text("built")
"""


@pytest.fixture
async def cli(tmp_path: Path) -> AsyncIterator[CommandLine]:
    command_line = CommandLine(tmp_path, {"AUTOPACK_LISTEN": "127.0.0.1:0"})
    command_line.make_repository()
    yield command_line
    await command_line.stop()


@pytest.fixture
async def service(cli: CommandLine) -> AsyncIterator[CommandLine]:
    """`autopack up` on the home of the test, with a builder that fails P2 until the gate is open."""
    (cli.folder / "gate").mkdir()
    cli.configure_builder(cli.builder(cli.folder / "gate", source=HALF))
    process = await cli.start("up")
    await until(lambda: (cli.home / "service.json").exists() or process.returncode is not None, "the service")
    yield cli
    process.send_signal(signal.SIGTERM)
    ended = await cli.finished(process)
    assert ended.exit_code == 0, ended.err
    assert "Autopack is up at http://127.0.0.1:" in ended.out
    assert not (cli.home / "service.json").exists()


async def test_a_run_is_started_watched_looked_into_and_taken_up_again(service: CommandLine) -> None:
    cli = service
    plan = cli.plan(run_id="s1")
    started = await cli.run("start", plan, "--repo", "shop", "--json")
    assert started.exit_code == 0, started.err
    assert started.document["run_id"] == "s1"

    watched = await cli.run("watch", "s1")
    assert watched.exit_code == 1
    assert "P2 cannot be built yet" in watched.out

    followed = await cli.run("events", "s1", "--follow", "--json")
    types = [event["type"] for event in followed.lines]
    assert types[0] == "autopack.RunRequested.v1"
    assert types[-1] == "autopack.RunFailed.v1"

    logs = await cli.run("logs", "s1", "P1")
    assert "a word from P1" in logs.out
    unknown = await cli.run("logs", "s1", "P9")
    assert (unknown.exit_code, "Phase P9 not found; there are P1, P2" in unknown.err) == (2, True)
    diff = await cli.run("diff", "s1", "--json")
    assert "P1.txt" in diff.document["diff"]
    assert (await cli.run("diff", "s1", "P2")).exit_code == 1
    assert (await cli.run("diff", "s1", "P9")).exit_code == 2
    report = await cli.run("report", "s1", "--json")
    assert report.document["state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW"

    (cli.folder / "gate" / "open").touch()
    retried = await cli.run("retry", "s1", "--run-id", "s2", "--json")
    assert retried.document["retry_of"] == "s1"
    assert (await cli.run("watch", "s2")).exit_code == 0
    assert cli.git("ls-tree", "--name-only", "autonomous/s2").split()[:2] == ["P1.txt", "P2.txt"]
    assert cli.git("rev-parse", "autonomous/s2~1") == cli.git("rev-parse", "autonomous/s1")


async def test_what_a_service_forbids_is_told_with_its_exit_code(service: CommandLine) -> None:
    cli = service
    plan = cli.plan(run_id="e1", phases=1)
    assert (await cli.run("run", plan, "--repo", "shop", "--detach")).exit_code == 0
    assert (await cli.run("watch", "e1")).exit_code == 0
    for arguments, exit_code, told in (
        (("run", plan, "--repo", "shop"), 2, "e1 already exists"),
        (("run", plan, "--repo", "shop", "--run-id", "e2", "--builder-command", "true"), 2, "agents.toml"),
        (("status", "nobody"), 2, "Run nobody not found"),
        (("watch", "nobody"), 2, "Run nobody not found"),
        (("cancel", "nobody"), 2, "Run nobody not found"),
        (("retry", "e1"), 2, "completed every phase"),
        (("up",), 1, "a service runs on this home already"),
        (("promote", "e1", "--to", "nowhere"), 1, "no branch 'nowhere'"),
        (("promote", "e1", "--to", "main"), 1, "is checked out in"),
    ):
        done = await cli.run(*arguments)
        assert (done.exit_code, told in done.err) == (exit_code, True), (arguments, done.err)


async def test_a_run_is_cancelled_from_another_terminal(cli: CommandLine) -> None:
    gate = cli.folder / "gate"
    gate.mkdir()
    cli.configure_builder(cli.builder(gate))
    process = await cli.start("up", "--json")
    await until((cli.home / "service.json").exists, "the service")
    following = await cli.start("run", cli.plan(run_id="c1"), "--repo", "shop")
    await until(cli.builds_begun, "the build to begin")
    watching = await cli.start("watch", "c1")
    assert watching.stdout is not None
    assert b"RunRequested" in await watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    assert (await cli.finished(watching)).exit_code == 130
    assert following.returncode is None
    cancelled = await cli.run("cancel", "c1", "--reason", "a change of mind", "--json")
    assert cancelled.exit_code == 0, cancelled.err
    followed = await cli.finished(following)
    assert followed.exit_code == 1
    assert "DONE_FAILED_CANCELLED" in followed.out
    process.send_signal(signal.SIGINT)
    ended = await cli.finished(process)
    assert ended.exit_code == 0, ended.err
    assert json.loads(ended.out.splitlines()[0])["url"].startswith("http://127.0.0.1:")


async def test_what_a_run_left_is_read_without_a_service(cli: CommandLine) -> None:
    done = await cli.run("run", cli.plan(run_id="r1"), "--repo", "shop", "--builder-command", cli.builder())
    assert done.exit_code == 0, done.err

    runs = (await cli.run("status", "--json")).document["runs"]
    assert [(run["run_id"], run["state"]) for run in runs] == [("r1", "DONE_SUCCESS")]
    report = await cli.run("report", "r1")
    assert "No setbacks." in report.out
    assert "✓ P2" in report.out
    events = (await cli.run("events", "r1", "--json")).document
    assert [event["sequence"] for event in events] == list(range(len(events)))
    accepted = next(e["sequence"] for e in events if e["type"].startswith("autopack.RunAccepted."))
    replayed = (await cli.run("replay", "r1", "--to", str(accepted), "--json")).document
    assert (replayed["sequence"], replayed["state"]) == (accepted, "RUN_CREATED")
    verified = await cli.run("audit", "verify", "--json")
    assert verified.exit_code == 0
    assert verified.document["whole"] is True
    assert verified.document["runs"][0]["records"] == len(events)


async def _standings(cli: CommandLine) -> set[str]:
    """Of all projections. Whoever is behind is no fault."""
    status = await cli.run("projections", "status", "--json")
    assert status.exit_code == 0, status.err
    return {line["standing"] for line in status.document["projections"]}


async def test_operators_see_rebuild_and_promote(service: CommandLine) -> None:
    cli = service
    cli.git("branch", "next")
    assert (await cli.run("run", cli.plan(run_id="o1", phases=1), "--repo", "shop")).exit_code == 0

    async with asyncio.timeout(30):  # the files of a run come a moment behind its end
        while (standings := await _standings(cli)) != {"following"}:
            assert standings <= {"following", "behind"}
    rebuilt = await cli.run("projections", "rebuild", "--json")
    assert rebuilt.exit_code == 0, rebuilt.err
    assert {line["projection"] for line in rebuilt.document["projections"]} >= {"runs", "tiers", "run_files"}
    summary = Path((await cli.run("status", "o1", "--json")).document["run_files"]) / "run_summary.md"
    summary.unlink()
    again = await cli.run("projections", "rebuild", "run_files", "--json")
    assert [line["rows"] for line in again.document["projections"]] == [1]
    assert "DONE_SUCCESS" in summary.read_text()
    assert (await cli.run("projections", "prune", "--json")).document == {"dropped": []}

    nowhere = {**cli.variables, "AUTOPACK_LOG": "postgresql://nobody@127.0.0.1:1/none"}
    assert (await replace(cli, variables=nowhere).run("promote", "o1", "--to", "next")).exit_code == 3
    assert cli.git("rev-parse", "next") != cli.git("rev-parse", "autonomous/o1"), "it could not be written down"
    promoted = await cli.run("promote", "o1", "--to", "next", "--json")
    assert promoted.exit_code == 0, promoted.err
    assert cli.git("rev-parse", "next") == cli.git("rev-parse", "autonomous/o1")
    last = (await cli.run("events", "o1", "--json")).document[-1]
    assert (last["type"], last["data"]["branch"]) == ("autopack.RunPromoted.v1", "next")
    again = await cli.run("promote", "o1", "--to", "next")
    assert "already" in again.out
    assert len((await cli.run("events", "o1")).out.splitlines()) == last["sequence"] + 1


async def test_a_refused_record_is_listed_shown_and_submitted_again(cli: CommandLine) -> None:
    done = await cli.run(
        "run", cli.plan(run_id="r1", phases=1), "--repo", "shop", "--builder-command", cli.builder()
    )
    assert done.exit_code == 0, done.err
    arguments = ("run", cli.plan(run_id="r1", phases=1), "--repo", "shop", "--builder-command", "true")
    assert (await cli.run(*arguments)).exit_code == 2
    listed = (await cli.run("rejections", "list", "--json")).document["rejections"]
    assert [refusal["reason"] for refusal in listed] == ["duplicate_run_id"]
    place = listed[0]["place"]
    shown = (await cli.run("rejections", "show", place, "--json")).document
    assert json.loads(shown["text"])["type"] == "autopack.RunRequested.v1"
    redriven = await cli.run("rejections", "redrive", place, "--json")
    assert redriven.document["topic"] == "autopack.commands"
    assert (await cli.run("rejections", "show", "0/999")).exit_code == 2
    await cli.run("run", cli.plan(run_id="r2", phases=1), "--repo", "shop", "--builder-command", "true")  # decides
    async with asyncio.timeout(60):
        while len(listed := (await cli.run("rejections", "list", "--json")).document["rejections"]) < 2:
            await asyncio.sleep(0.5)
    shown_again = [(await cli.run("rejections", "show", one["place"], "--json")).document for one in listed]
    assert [one["text"] for one in shown_again] == [shown["text"]] * 2


async def test_what_is_missing_on_a_machine_is_told_with_its_remedy(cli: CommandLine) -> None:
    looked = await cli.run("doctor", "--json")
    assert looked.exit_code == 0, looked.err
    grades = {finding["name"]: finding["grade"] for finding in looked.document["findings"]}
    assert grades.keys() == {"settings", "python", "git", "sandbox", "servers", "agents", "disk", "service"}
    assert (grades["git"], grades["servers"], grades["agents"]) == ("ok", "ok", "note")
    cli.configure_builder("/nowhere/agent --fast")
    without = await cli.run("doctor")
    assert without.exit_code == 1
    assert "/nowhere/agent of file" in without.out


async def test_what_killed_processes_left_is_cleared(cli: CommandLine) -> None:
    left = cli.home / "work" / "left-over" / "tree"
    left.mkdir(parents=True)
    kept = await cli.run("gc", "--json")
    nothing = {"removed": [], "references": [], "artifacts": 0, "artifact_bytes": 0, "answers": 0}
    assert kept.document == nothing | {"trouble": None, "dry_run": False}
    looked = await cli.run("gc", "--older-than-hours", "0", "--dry-run", "--json")
    assert looked.document["removed"] == [str(left.parent)]
    assert left.exists()
    cleared = await cli.run("gc", "--older-than-hours", "0", "--json")
    assert cleared.exit_code == 0, cleared.err
    assert not left.parent.exists()
