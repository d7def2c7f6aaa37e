import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.configuration import Check
from events.families.base import ArtifactRef
from events.families.failure import FailureClass
from events.families.verify import CheckOutcome, ChecksFailed, ChecksPassed, barest_results
from services.candidates import CandidateDiffers
from services.verifier.reporting import reported
from support.repositories import git, new_file_patch
from support.workers import EVENT_LIMIT_BYTES, Home, event_bytes, open_home, with_command_line

Answer = ChecksPassed | ChecksFailed


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return await open_home(tmp_path)


def check(source: str, name: str = "tests", **options: Any) -> Check:
    return Check(name=name, argv=("sh", "-c", source), **options)


async def checked(
    home: Home,
    *checks: Check,
    patch: bytes | None = None,
    say: Callable[[str], None] | None = None,
    **request: Any,
) -> Answer:
    """Check a candidate that adds a file `made` (or what the patch adds)."""
    reference = await home.store.put(patch or new_file_patch("made", "by the candidate\n"))
    accepted, origin = await home.accepted([reference], allow=("executable", "**"))
    wanted = home.checks_request(accepted, origin, checks, **request)
    assignment = home.assignment(wanted, say=say or home.lines.append)
    answer = await home.verifier().perform(assignment)
    assert home.left_over() == []
    assert event_bytes(answer) < EVENT_LIMIT_BYTES
    assert (answer.candidate, answer.request_id) == (accepted.candidate, assignment.request_id)
    return answer


async def green(home: Home, *checks: Check, **options: Any) -> ChecksPassed:
    answer = await checked(home, *checks, **options)
    assert isinstance(answer, ChecksPassed), answer
    return answer


async def red(home: Home, *checks: Check, **options: Any) -> ChecksFailed:
    answer = await checked(home, *checks, **options)
    assert isinstance(answer, ChecksFailed), answer
    return answer


async def test_green_checks_are_green_on_the_very_candidate(home: Home):
    answer = await green(home, check("test -f README.md && cat made; pwd"), check("true", "lint"))
    first, second = answer.checks
    assert (first.name, first.outcome, first.exit_code, first.tries) == ("tests", CheckOutcome.PASSED, 0, 1)
    assert first.output == "by the candidate\n/autopack/workspace"
    assert first.log is not None
    assert await home.store.get(first.log.digest) == b"by the candidate\n/autopack/workspace\n"
    assert (second.name, second.log) == ("lint", None)
    assert "by the candidate" in home.lines


async def test_a_red_check_says_what_it_printed_and_the_others_run_as_well(home: Home):
    answer = await red(home, check("echo out; echo two is not one >&2; exit 3"), check("true", "lint"))
    assert answer.failure is FailureClass.RED_CHECKS
    assert answer.reason == "red checks: tests (failed)"
    assert [(c.outcome, c.exit_code, c.tries) for c in answer.checks] == [
        (CheckOutcome.FAILED, 3, 3),
        (CheckOutcome.PASSED, 0, 1),
    ]
    assert "two is not one" in answer.checks[0].output


async def test_a_flake_is_green_and_said_to_be_one(home: Home, tmp_path: Path):
    weather = tmp_path / "weather"
    weather.mkdir()

    def say(line: str) -> None:
        home.lines.append(line)
        if "trying again" in line:
            (weather / "fine").touch()

    flaky = Check(name="tests", argv=("sh", "-c", 'test -e "$1/fine"', "sh", str(weather)))
    answer = await green(home, flaky, say=say)
    assert (answer.checks[0].flaky, answer.checks[0].tries) == (True, 2)
    assert any("trying again" in line for line in home.lines)


async def test_a_check_judges_the_candidate_not_what_another_check_made_of_it(home: Home):
    mends = check("echo mended > made; rm README.md; mkdir -p left/over; chmod 0 left", "mends")
    judges = check("cat made; ls -A", "judges")
    answer = await green(home, mends, judges, judges)
    for shown in answer.checks[1:]:
        assert shown.output.splitlines() == ["by the candidate", ".gitignore", "README.md", "made", "src"]


async def test_a_try_finds_nothing_that_an_earlier_try_left(home: Home):
    answer = await red(home, check("test -f tried || { touch tried; echo tests >> README.md; exit 1; }"))
    assert [(c.outcome, c.tries, c.flaky) for c in answer.checks] == [(CheckOutcome.FAILED, 3, False)]


async def test_a_hanging_check_is_ended_and_not_tried_again(home: Home):
    word = f"check-{secrets.token_hex(8)}"
    answer = await red(home, check(f": {word}; echo begun; sleep 600", timeout_seconds=5))
    assert (answer.checks[0].outcome, answer.checks[0].tries) == (CheckOutcome.TIMED_OUT, 1)
    assert answer.checks[0].output == "ran longer than 5 s\nbegun"
    assert with_command_line(word) == []


async def test_with_little_time_left_a_red_check_is_not_tried_again(home: Home):
    reference = await home.store.put(new_file_patch("made", "x\n"))
    accepted, origin = await home.accepted([reference])
    request = home.checks_request(accepted, origin, [check("exit 1")])
    answer = await home.verifier().perform(home.assignment(request, limit_seconds=0.01))
    assert answer.checks[0].tries == 1


async def test_a_program_that_the_machine_lacks_is_its_fault(home: Home):
    for name in ("no-such-program", "/no/such/program"):
        answer = await red(home, Check(name="lint", argv=(name,)), check("true", "tests"))
        assert answer.failure is FailureClass.CONFIGURATION
        assert answer.failure.is_environment
        assert [c.outcome for c in answer.checks] == [CheckOutcome.NOT_STARTED]
        assert answer.reason == f"check lint cannot be run on this machine: no such executable: {name}"


async def test_a_script_that_the_candidate_lacks_is_red(home: Home):
    answer = await red(home, Check(name="lint", argv=("./run.sh",)), check("true", "tests"))
    assert answer.failure is FailureClass.RED_CHECKS
    assert [c.outcome for c in answer.checks] == [CheckOutcome.NOT_STARTED, CheckOutcome.PASSED]
    answer = await red(home, Check(name="lint", argv=("../../bin/sh", "-c", "true")))
    assert answer.failure is FailureClass.RED_CHECKS


async def test_a_script_of_the_candidates_is_run(home: Home):
    script = (
        b"diff --git a/run.sh b/run.sh\nnew file mode 100755\n--- /dev/null\n+++ b/run.sh\n"
        b"@@ -0,0 +1,2 @@\n+#!/bin/sh\n+echo ran in $PWD\n"
    )
    answer = await green(home, Check(name="run", argv=("./run.sh",)), patch=script)
    assert answer.checks[0].output == "ran in /autopack/workspace"


async def test_a_script_cannot_have_a_file_of_the_machine_shown(home: Home, tmp_path: Path):
    secret = tmp_path / "bin" / "secret"
    secret.parent.mkdir()
    secret.write_text("#!/bin/sh\necho the secret\n")
    secret.chmod(0o755)
    script = (
        "diff --git a/run.sh b/run.sh\nnew file mode 100755\n--- /dev/null\n+++ b/run.sh\n"
        f"@@ -0,0 +1,1 @@\n+#!{secret}\n"
    )
    answer = await red(home, Check(name="run", argv=("./run.sh",)), patch=script.encode())
    assert answer.failure is FailureClass.RED_CHECKS
    assert "the secret" not in answer.checks[0].output


async def test_checks_have_no_network(home: Home):
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = f"exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]}"
        answer = await red(home, Check(name="net", argv=("bash", "-c", source)), tries=1)
    assert answer.checks[0].outcome is CheckOutcome.FAILED


async def test_checks_leave_no_process_and_no_folder(home: Home):
    word = f"daemon-{secrets.token_hex(8)}"
    source = f"setsid sh -c ': {word}; sleep 600' >/dev/null 2>&1 & mkdir -p a/b; touch a/b/c; chmod 0 a"
    await green(home, check(source))
    assert with_command_line(word) == []


async def test_a_cancelled_verification_leaves_nothing(home: Home):
    word = f"check-{secrets.token_hex(8)}"
    reference = await home.store.put(new_file_patch("made", "x\n"))
    accepted, origin = await home.accepted([reference])
    source = f"trap '' TERM; : {word}; echo begun; while :; do sleep 0.1; done"
    request = home.checks_request(accepted, origin, [check(source)])
    running = asyncio.create_task(home.verifier().perform(home.assignment(request)))
    async with asyncio.timeout(20):
        while home.lines != ["begun"]:
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert with_command_line(word) == []
    assert home.left_over() == []
    for pause_seconds in (0.0, 0.01, 0.03, 0.06, 0.1, 0.2):
        running = asyncio.create_task(home.verifier().perform(home.assignment(request)))
        await asyncio.wait([running], timeout=pause_seconds)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert home.left_over() == [], pause_seconds


async def test_tests_are_counted_from_the_report_that_the_check_wrote(home: Home):
    source = "mkdir out; echo '<testsuite><testcase/><testcase><failure/></testcase></testsuite>' > out/report.xml"
    answer = await green(home, check(source, junit="out/report.xml"), check("true", "none", junit="absent.xml"))
    assert [c.tests for c in answer.checks] == [2, None]


async def test_a_report_that_the_candidate_brought_counts_for_nothing(home: Home):
    patch = new_file_patch("report.xml", "<testsuite><testcase/><testcase/></testsuite>\n")
    answer = await green(home, check("true", junit="report.xml"), patch=patch)
    assert answer.checks[0].tests is None


async def test_a_hostile_report_is_not_followed(home: Home, tmp_path: Path):
    (tmp_path / "outside.xml").write_text("<a><testcase/></a>")
    for source in (
        f"ln -s {tmp_path / 'outside.xml'} report.xml",
        "mkfifo report.xml",
        "ln -s report.xml report.xml",
        "mkdir report.xml",
    ):
        answer = await green(home, check(source, junit="report.xml"))
        assert answer.checks[0].tests is None
    answer = await green(home, check(f"ln -s {tmp_path} out", junit="out/outside.xml"))
    assert answer.checks[0].tests is None
    answer = await green(home, check("true", junit="../../../outside.xml"))
    assert answer.checks[0].tests is None
    assert (tmp_path / "outside.xml").exists()


async def test_another_machine_makes_the_same_candidate_again(home: Home):
    reference = await home.store.put(new_file_patch("made", "x\n"))
    accepted, origin = await home.accepted([reference])
    other = home.elsewhere("second-home")
    request = other.checks_request(accepted, origin, [check("cat made")])
    answer = await other.verifier().perform(other.assignment(request))
    assert isinstance(answer, ChecksPassed)
    assert answer.candidate == accepted.candidate
    assert other.left_over() == []


async def test_a_candidate_that_comes_out_otherwise_is_not_checked(home: Home):
    reference = await home.store.put(new_file_patch("made", "x\n"))
    accepted, origin = await home.accepted([reference])
    other = home.elsewhere("second-home")
    changed = origin.model_copy(update={"title": "Another title"})
    with pytest.raises(CandidateDiffers):
        await other.verifier().perform(
            other.assignment(other.checks_request(accepted, changed, [check("touch ran")]))
        )
    assert other.left_over() == []


async def test_a_repository_that_is_gone_is_named(home: Home):
    reference = await home.store.put(new_file_patch("made", "x\n"))
    accepted, origin = await home.accepted([reference])
    other = home.elsewhere("second-home")
    request = other.checks_request(accepted, origin, [check("true")], repository="/no/such/repository")
    answer = await other.verifier().perform(other.assignment(request))
    assert isinstance(answer, ChecksFailed)
    assert answer.failure is FailureClass.REPOSITORY_MISSING


@pytest.mark.parametrize("exit_code", [0, 1])
async def test_many_checks_with_long_output_still_fit_into_an_event(home: Home, exit_code: int):
    source = f"head -c 20000 /dev/zero | tr '\\0' '\\1'; printf '%03000d' 7; exit {exit_code}"
    checks = [check(source, f"check-{number}-{'n' * 50}") for number in range(25)]
    answer = await checked(home, *checks, tries=1)
    assert len(answer.checks) == 25
    assert answer.checks[0].log is not None
    assert answer.checks[0].log.size_bytes == 23000
    if exit_code:
        assert all(c.output.endswith("07") for c in answer.checks)


async def test_hundreds_of_checks_still_fit_into_an_event_the_red_ones_first(home: Home):
    answer = await red(home, check("exit 1"), tries=1)
    one = answer.checks[0]
    passed = one.model_copy(update={"outcome": CheckOutcome.PASSED, "name": "n" * 100})
    kept = reported([passed] * 800 + [one])
    assert kept[0].name == "tests"
    assert kept[-1].name.startswith("and ")
    assert event_bytes(answer.model_copy(update={"checks": kept})) < EVENT_LIMIT_BYTES


def test_as_many_green_checks_as_may_be_asked_for_are_all_named():
    log = ArtifactRef(digest=f"sha256:{'0' * 64}", size_bytes=10**6)
    checks = [check("true", f"check-{number}") for number in range(250)]
    results = [one.model_copy(update={"output": "o" * 4000, "log": log}) for one in barest_results(checks)]
    kept = reported(results)
    assert [one.name for one in kept] == [one.name for one in checks]
    assert all(one.outcome is CheckOutcome.PASSED for one in kept)
    failed = results[7].model_copy(update={"outcome": CheckOutcome.FAILED})
    kept = reported([*results[:7], failed, *results[8:]])
    assert (len(kept), kept[7].log, kept[7].output[-100:]) == (250, log, "o" * 100)


async def test_the_users_checkout_is_untouched(home: Home):
    before = git(home.repository, "status", "--porcelain", "--branch"), sorted(os.listdir(home.repository))
    await green(home, check("touch new"))
    assert (
        git(home.repository, "status", "--porcelain", "--branch"),
        sorted(os.listdir(home.repository)),
    ) == before
