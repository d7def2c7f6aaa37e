import asyncio
import json
import secrets
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import services.agents.command as command_module
import services.builder.builder as builder_module
from events.families.base import Feedback, Tokens
from events.families.build import BuildFailed, BuildSucceeded
from events.families.failure import FailureClass
from services.agents import CommandAgent
from services.git.patch import TakeLimits, take_patch
from services.runner.job import LAST_WORDS_SECONDS
from services.runner.worker import WorkReplaced
from support.deep_trees import NESTED
from support.repositories import git, write
from support.workers import EVENT_LIMIT_BYTES, Home, event_bytes, open_home, shell, with_command_line

REPORTS = 'echo \'{"summary": "done", "tokens": {"input": 10, "output": 4}}\' > $AUTOPACK_REPORT; '


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return await open_home(tmp_path)


async def built(home: Home, agent: CommandAgent, limit_seconds: float = 60.0, **request: Any) -> BuildSucceeded:
    answer = await answered(home, agent, limit_seconds, **request)
    assert isinstance(answer, BuildSucceeded), answer
    return answer


async def failed(home: Home, agent: CommandAgent, limit_seconds: float = 60.0, **request: Any) -> BuildFailed:
    answer = await answered(home, agent, limit_seconds, **request)
    assert isinstance(answer, BuildFailed), answer
    return answer


async def answered(
    home: Home, agent: CommandAgent | None, limit_seconds: float = 60.0, **request: Any
) -> BuildSucceeded | BuildFailed:
    assignment = home.assignment(home.build_request(**request), limit_seconds=limit_seconds)
    answer = await home.builder(agent).perform(assignment)
    assert home.left_over() == []
    assert event_bytes(answer) < EVENT_LIMIT_BYTES
    return answer


async def applied(home: Home, answer: BuildSucceeded, folder: Path) -> Path:
    """A clone of the repository with the patch applied by plain git."""
    git(home.repository.parent, "clone", "--quiet", str(home.repository), str(folder))
    write(folder.parent, {"patch": await home.store.get(answer.patch.digest)})
    git(folder, "apply", "../patch")
    return folder


async def until(condition: Callable[[], bool], deadline_seconds: float = 20) -> None:
    async with asyncio.timeout(deadline_seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_an_agent_changes_becomes_a_patch_with_its_report(home: Home, tmp_path: Path):
    source = REPORTS + (
        "echo line >> README.md; rm src/stock.py; mkdir new; echo text > new/file; echo x > noise.log; echo hello"
    )
    answer = await built(home, shell(source))
    assert answer.files == ("README.md", "new/file", "src/stock.py")
    assert (answer.lines_added, answer.lines_removed) == (2, 30)
    assert (answer.summary, answer.usage.tokens) == ("done", Tokens(input=10, output=4))
    assert answer.log is not None
    assert await home.store.get(answer.log.digest) == b"hello\n"
    assert home.lines == ["hello"]
    clone = await applied(home, answer, tmp_path / "clone")
    assert (clone / "new" / "file").read_text() == "text\n"
    assert not (clone / "src" / "stock.py").exists()


async def test_the_agent_is_told_what_its_contract_says(home: Home, tmp_path: Path):
    script = tmp_path / "agent.py"
    script.write_text(
        "import json, os, sys\n"
        "told = json.load(sys.stdin)\n"
        "assert told == json.load(open(os.environ['AUTOPACK_REQUEST']))\n"
        "json.dump(told | {'folder': os.getcwd()}, open('told.json', 'w'))\n"
    )
    feedback = (Feedback(attempt=1, stage="checks", summary="red"),)
    answer = await built(home, CommandAgent("python", (sys.executable, str(script))), attempt=2, feedback=feedback)
    clone = await applied(home, answer, tmp_path / "clone")
    told = json.loads((clone / "told.json").read_text())
    assert set(told) == {
        "run_id",
        "phase",
        "attempt",
        "base_commit",
        "feedback",
        "tokens_left",
        "seconds_left",
        "folder",
    }
    assert told["phase"]["name"] == "Total the cart"
    assert told["feedback"][0]["summary"] == "red"
    assert told["folder"] == "/autopack/workspace"


async def test_exit_code_0_without_a_change_is_a_failure_that_still_costs(home: Home):
    answer = await failed(home, shell(REPORTS + "exit 0"))
    assert (answer.failure, answer.usage.tokens) == (FailureClass.NO_CHANGE, Tokens(input=10, output=4))


async def test_an_exit_code_fails_the_build_with_the_end_of_stderr(home: Home):
    answer = await failed(home, shell("echo changed > README.md; echo no model >&2; exit 7"))
    assert (answer.failure, answer.reason) == (FailureClass.EXIT_CODE, "exited with code 7: no model")


async def test_a_hanging_and_a_silent_agent_are_ended(home: Home):
    answer = await failed(home, shell("sleep 600"), limit_seconds=1.0)
    assert answer.failure is FailureClass.TIMEOUT
    answer = await failed(home, shell("sleep 600", idle_seconds=0.5))
    assert answer.failure is FailureClass.IDLE


async def test_a_flood_of_200_megabytes_is_survived_and_little_of_it_kept(home: Home):
    answer = await built(home, shell("head -c 200000000 /dev/zero | tr '\\0' x; echo; echo end; echo > made"))
    assert answer.files == ("made",)
    assert answer.log is not None
    assert answer.log.size_bytes < 2 << 20
    assert (await home.store.get(answer.log.digest)).endswith(b"\nend\n")


async def test_a_file_too_large_to_be_taken_fails_the_build_by_name(home: Home):
    answer = await failed(home, shell(REPORTS + "head -c 21000000 /dev/zero > huge.bin; echo small > small"))
    assert answer.failure is FailureClass.TOO_LARGE
    assert "huge.bin" in answer.reason
    assert answer.usage.tokens == Tokens(input=10, output=4)


async def test_an_unreadable_tree_is_the_agents_failure_and_still_costs(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    limited = partial(take_patch, limits=TakeLimits(changed_files=2))
    monkeypatch.setattr(builder_module, "take_patch", limited)
    answer = await failed(home, shell(REPORTS + "touch a b c"))
    assert (answer.failure, answer.usage.tokens) == (FailureClass.BAD_ANSWER, Tokens(input=10, output=4))
    assert answer.log is None


async def test_an_agent_that_is_not_there_is_an_obstacle_of_the_machine(home: Home):
    for agent, asked in (
        (None, None),
        (None, "nobody"),
        (None, "external"),
        (CommandAgent("gone", ("/no/such/agent",)), None),
    ):
        assignment = home.assignment(home.build_request(agent=asked))
        answer = await home.builder(agent).perform(assignment)
        assert isinstance(answer, BuildFailed)
        assert answer.failure is FailureClass.MISSING_AGENT
        assert answer.failure.is_environment


async def test_a_repository_that_is_gone_is_an_obstacle_of_the_machine(home: Home):
    answer = await failed(home, shell("true"), repository="/no/such/repository")
    assert answer.failure is FailureClass.REPOSITORY_MISSING
    answer = await failed(home, shell("true"), base_commit="0" * 39 + "1")
    assert answer.failure is FailureClass.REPOSITORY_UNREACHABLE
    answer = await failed(home, shell("true"), base_commit=None)
    assert answer.failure is FailureClass.REPOSITORY_MISSING


async def test_a_daemon_that_an_agent_leaves_is_dead_with_its_sandbox(home: Home):
    word = f"daemon-{secrets.token_hex(8)}"
    source = f"setsid sh -c 'trap \"\" TERM; : {word}; while :; do sleep 1; done' >/dev/null 2>&1 & echo > made"
    await built(home, shell(source))
    assert with_command_line(word) == []


async def test_an_agents_own_commits_count_by_what_they_leave(home: Home, tmp_path: Path):
    source = (
        "echo one > one && git add one && git commit -qm one && "
        "echo two > two && git add two && git commit -qm two && git rm -q one && echo three > three"
    )
    answer = await built(home, shell(source))
    assert answer.files == ("three", "two")


HOSTILE = {
    "no git folder": "rm -rf .git",
    "a link": "rm -rf .git; ln -s /etc .git",
    "a monitor": "git config core.fsmonitor 'touch /tmp/pwned; exit 1'; git config core.hooksPath hooks",
    "a filter": "echo '* filter=x' > .git/info/attributes; git config filter.x.clean 'touch pwned; cat'",
    "another head": "git checkout -q --orphan other && git commit -qm x && git update-ref -d refs/heads/work",
    "another work tree": "git config core.worktree /etc",
    "an index of its own": "echo junk > .git/index",
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_nothing_in_an_agents_git_folder_counts_or_runs(home: Home, kind: str):
    answer = await built(home, shell(f"{HOSTILE[kind]}\necho > made"))
    assert answer.files == ("made",)
    assert not Path("/tmp/pwned").exists()


async def test_thousands_of_long_paths_and_a_long_report_still_fit_into_an_event(home: Home, tmp_path: Path):
    script = tmp_path / "agent.py"
    script.write_text(
        "import json, os, pathlib\n"
        "folder = pathlib.Path(*['f' * 200] * 10)\n"
        "folder.mkdir(parents=True)\n"
        "for number in range(3000): (folder / f'file-{number}').write_text('x')\n"
        "long = '\\u0001\\u4e2d\"' * 500\n"
        "probe = {'name': long, 'outcome': long, 'output': long}\n"
        "issue = {'issue_key': long, 'message': long, 'paths': [long] * 5, 'evidence': [long] * 5}\n"
        "report = {'summary': long, 'probes': [probe] * 20, 'issues': [issue] * 9}\n"
        "open(os.environ['AUTOPACK_REPORT'], 'w').write(json.dumps(report, ensure_ascii=False))\n"
    )
    answer = await built(home, CommandAgent("python", (sys.executable, str(script))))
    assert answer.files[-1].endswith("more")
    assert answer.issues
    assert answer.probes


async def test_a_cancelled_build_kills_its_agent_and_leaves_nothing(home: Home):
    word = f"agent-{secrets.token_hex(8)}"
    agent = shell(f"trap '' TERM; : {word}; echo begun; while :; do sleep 0.1; done")
    running = asyncio.create_task(home.builder(agent).perform(home.assignment(home.build_request())))
    await until(lambda: home.lines == ["begun"])
    assert with_command_line(word) != []
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert with_command_line(word) == []
    assert home.left_over() == []


LAST_WORDS = {
    "an agent that writes its report when it is told": (
        f"report() {{ {REPORTS}exit 0; }}; trap report TERM; echo begun; WAIT"
    ),
    "an agent that wrote it before and listens to nobody": f"{REPORTS}trap '' TERM; echo begun; WAIT",
}


@pytest.mark.parametrize("kind", LAST_WORDS)
async def test_a_revoked_build_ends_in_time_and_says_what_its_agent_used(
    home: Home, kind: str, monkeypatch: pytest.MonkeyPatch
):
    """Whoever heeds is not waited for any longer."""
    source = LAST_WORDS[kind]
    if "when it is told" in kind:
        monkeypatch.setattr(command_module, "GRACE_SECONDS", 60.0)
    word = f"agent-{secrets.token_hex(8)}"
    assignment = home.assignment(home.build_request())
    agent = shell(f": {word}; " + source.replace("WAIT", "while :; do sleep 0.05; done"))
    running = asyncio.create_task(home.builder(agent).perform(assignment))
    await until(lambda: home.lines == ["begun"])
    assignment.revoked.set()
    begun = time.monotonic()
    answer = await running
    assert time.monotonic() - begun < 30
    assert isinstance(answer, BuildFailed)
    assert (answer.failure, answer.usage.tokens) == (FailureClass.REVOKED, Tokens(input=10, output=4))
    assert with_command_line(word) == []
    assert home.left_over() == []


def test_an_agent_that_heeds_nobody_is_ended_while_its_last_words_are_waited_for():
    assert command_module.GRACE_SECONDS < LAST_WORDS_SECONDS


async def test_what_a_revoked_agent_left_half_written_stays_unknown(home: Home):
    source = 'echo \'{"tokens": {"input": 10\' > $AUTOPACK_REPORT; echo begun; sleep 600'
    assignment = home.assignment(home.build_request())
    running = asyncio.create_task(home.builder(shell(source)).perform(assignment))
    await until(lambda: home.lines == ["begun"])
    assignment.revoked.set()
    answer = await running
    assert isinstance(answer, BuildFailed)
    assert (answer.failure, answer.usage.tokens) == (FailureClass.REVOKED, None)


async def test_what_an_agent_used_is_known_also_when_its_patch_cannot_be_kept(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    async def refusing(*_: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(builder_module, "take_patch", refusing)
    builder, assignment = home.builder(shell(REPORTS + "echo > made")), home.assignment(home.build_request())
    assert not assignment.spending.begun
    with pytest.raises(OSError, match="No space left"):
        await builder.perform(assignment)
    assert assignment.spending.begun
    reported = builder.failed(assignment, FailureClass.INTERNAL, "no space left")
    assert reported.usage.tokens == Tokens(input=10, output=4)


async def test_nothing_is_spent_before_the_agent_begins(home: Home):
    for changes in ({"repository": "/no/such/repository"}, {"agent": "nobody"}, {"base_commit": None}):
        assignment = home.assignment(home.build_request(**changes))
        await home.builder(shell("true")).perform(assignment)
        assert not assignment.spending.begun


async def test_a_build_cancelled_at_any_moment_leaves_nothing(home: Home):
    agent = shell("echo > made; sleep 600")
    await failed(home, agent, limit_seconds=0.1)
    for pause_seconds in (0.0, 0.005, 0.02, 0.05, 0.08, 0.12, 0.2, 0.3):
        running = asyncio.create_task(home.builder(agent).perform(home.assignment(home.build_request())))
        await asyncio.wait([running], timeout=pause_seconds)
        running.cancel()
        begun = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert time.monotonic() - begun < 10
        assert home.left_over() == [], pause_seconds


async def test_the_claim_names_the_agent_and_the_lesser_limit(home: Home):
    terms = await home.builder(shell("true", timeout_seconds=5)).terms(home.build_request())
    assert (terms.limit_seconds, terms.agent, terms.sandbox) == (5, "scripted", home.sandbox.name)
    terms = await home.builder(shell("true", timeout_seconds=500)).terms(home.build_request())
    assert terms.limit_seconds == 60


async def test_no_agent_is_started_for_a_request_that_another_holds_by_now(home: Home) -> None:
    async def replaced() -> None:
        raise WorkReplaced("another holds it")

    assignment = home.assignment(home.build_request(), still_ours=replaced)
    with pytest.raises(WorkReplaced):
        await home.builder(shell("echo started")).perform(assignment)
    assert (home.lines, assignment.spending.begun, home.left_over()) == ([], False, [])


DEEP = {
    "with a file": ("mkdir -p $(d 1200); echo x > $(d 1200)file", None),
    "ignored": ("mkdir -p build/$(d 1200); echo x > build/$(d 1200)file", FailureClass.NO_CHANGE),
    "ignored, beyond any path": (
        "mkdir -p build/$(d 1900) $(d 1900); mv d build/$(d 1900)d",
        FailureClass.NO_CHANGE,
    ),
    "beyond any path": ("mkdir -p e/$(d 1900) $(d 1900); mv d e/$(d 1900)d", FailureClass.BAD_ANSWER),
    "a file with a path as long as git takes": (
        "mkdir -p $(d 2000); cd $(d 2000); echo x > $(printf 'f%.0s' $(seq 94))",
        FailureClass.BAD_ANSWER,
    ),
}


@pytest.mark.parametrize("kind", DEEP)
async def test_folders_nested_too_deep_are_no_fault_of_the_machine_and_nothing_of_them_is_left(
    home: Home, kind: str
):
    source, failure = DEEP[kind]
    answer = await answered(home, shell(NESTED + source))
    if failure is None:
        assert isinstance(answer, BuildSucceeded), answer
    else:
        assert isinstance(answer, BuildFailed)
        assert answer.failure is failure, answer.reason


async def test_a_base_of_folders_nested_deep_is_cloned(home: Home):
    answer = await built(home, shell(NESTED + "mkdir -p $(d 1200); echo x > $(d 1200)file"))
    patch = await home.store.get(answer.patch.digest)
    (home.folder / "deep").write_bytes(patch)
    git(home.repository, "apply", "--index", str(home.folder / "deep"))
    git(home.repository, "commit", "--quiet", "--message", "Nest")
    answer = await built(home, shell("echo > made"))
    assert answer.files == ("made",)
    git(home.repository, "reset", "--quiet", "--hard", "HEAD~1")
