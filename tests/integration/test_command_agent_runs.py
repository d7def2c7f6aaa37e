import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.families.audit import Recommendation
from events.families.failure import FailureClass
from services.agents import AgentFailure, AuditAnswer, BuildAnswer, CommandAgent, CommandDriver, Session, Tokens
from services.agents.answers import Verdict
from services.agents.verdict import read_verdict
from services.sandbox import Job, Mount, Sandbox, SandboxUnavailable, open_sandbox, probe

SERVICE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "MODEL_KEY": "sk-model-key-123", "AUTOPACK_LOG": "kafka://b"}
REQUEST = json.dumps({"run_id": "r", "phase": {"phase_id": "P1"}, "attempt": 1, "feedback": []}).encode()


async def contained() -> Sandbox:
    tried = await probe(SERVICE)
    if tried.sandbox is None:
        pytest.skip(f"no sandbox works here: {tried.reason}")
    return tried.sandbox


@pytest.fixture(params=["bubblewrap", "none"])
async def sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Every claim about an agent holds with a sandbox and, where an operator allowed that, without one."""
    if request.param == "bubblewrap":
        return await contained()
    monkeypatch.setattr("services.sandbox.opening.find_bubblewrap", lambda: None)
    return await open_sandbox(SERVICE, allow_unsandboxed=True)


@pytest.fixture
def driver(sandbox: Sandbox, tmp_path: Path) -> CommandDriver:
    return CommandDriver(sandbox, tmp_path / "scratch")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    return folder


def shell(source: str, **options: Any) -> CommandAgent:
    return CommandAgent("scripted", ("sh", "-c", source), **options)


async def built(driver: CommandDriver, workspace: Path, agent: CommandAgent, **session: Any) -> BuildAnswer:
    answer = await driver.build(agent, workspace, REQUEST, Session(**session))
    assert isinstance(answer, BuildAnswer), answer
    return answer


async def failed(driver: CommandDriver, workspace: Path, agent: CommandAgent, **session: Any) -> AgentFailure:
    answer = await driver.build(agent, workspace, REQUEST, Session(**session))
    assert isinstance(answer, AgentFailure), answer
    return answer


async def until(condition: Callable[[], bool], deadline_seconds: float = 10) -> None:
    async with asyncio.timeout(deadline_seconds):
        while not condition():
            await asyncio.sleep(0.02)


AGENT = """
import json, os, sys
request = json.load(sys.stdin)
assert request == json.load(open(os.environ["AUTOPACK_REQUEST"]))
assert os.path.realpath(os.environ["AUTOPACK_REQUEST"]) != os.path.realpath("request.json")
with open("made.txt", "w") as file:
    file.write(request["phase"]["phase_id"])
print("working on", request["run_id"])
with open(os.environ["AUTOPACK_REPORT"], "w") as file:
    json.dump({"summary": "made it", "tokens": {"input": 10, "output": 4}, "cost_usd": 0.25}, file)
"""


async def test_a_builder_gets_its_request_changes_its_clone_and_reports(
    driver: CommandDriver, workspace: Path, tmp_path: Path
):
    script = tmp_path / "agents" / "agent.py"
    script.parent.mkdir()
    script.write_text(AGENT)
    lines: list[str] = []
    agent = CommandAgent("scripted", (sys.executable, str(script)))
    answer = await built(driver, workspace, agent, on_line=lines.append)
    assert (workspace / "made.txt").read_text() == "P1"
    assert (workspace / "made.txt").stat().st_uid == os.geteuid()
    assert answer.report.summary == "made it"
    assert answer.usage.tokens == Tokens(input=10, output=4)
    assert answer.usage.cost_usd == 0.25
    assert answer.usage.duration_seconds > 0
    assert answer.log == b"working on r\n"
    assert lines == ["working on r"]
    assert answer.sandbox == driver.sandbox.name
    assert os.listdir(driver.scratch_folder) == []


async def test_exit_code_0_without_a_change_is_an_answer_with_unknown_tokens(
    driver: CommandDriver, workspace: Path
):
    answer = await built(driver, workspace, shell("exit 0"))
    assert os.listdir(workspace) == []
    assert answer.usage.tokens is None
    assert answer.report.notes == ()


async def test_a_failing_builder_gives_the_end_of_its_stderr_and_what_it_used(
    driver: CommandDriver, workspace: Path
):
    source = 'echo \'{"tokens":{"input":3}}\' > $AUTOPACK_REPORT; echo out; echo no model answered >&2; exit 7'
    failure = await failed(driver, workspace, shell(source))
    assert failure.failure is FailureClass.EXIT_CODE
    assert failure.reason == "exited with code 7: no model answered"
    assert failure.usage.tokens == Tokens(input=3)
    assert sorted(failure.log.splitlines()) == [b"no model answered", b"out"]


async def test_a_bad_report_spoils_no_build(driver: CommandDriver, workspace: Path):
    answer = await built(driver, workspace, shell("echo done > file; echo not json > $AUTOPACK_REPORT"))
    assert (workspace / "file").exists()
    assert answer.report.notes[0].startswith("the report was not used: ")


@pytest.mark.parametrize(
    "source",
    [
        "ln -s /etc/hostname $AUTOPACK_REPORT",
        "mkfifo $AUTOPACK_REPORT",
        "mkdir $AUTOPACK_REPORT",
        "head -c 2000000 /dev/zero > $AUTOPACK_REPORT",
    ],
)
async def test_a_hostile_report_is_not_followed_and_holds_nobody_up(
    driver: CommandDriver, workspace: Path, source: str
):
    answer = await asyncio.wait_for(built(driver, workspace, shell(source)), 20)
    assert len(answer.report.notes) == 1
    assert answer.report.summary == ""
    assert os.listdir(driver.scratch_folder) == []


async def test_a_missing_agent_is_named(driver: CommandDriver, workspace: Path):
    failure = await failed(driver, workspace, CommandAgent("gone", ("/opt/no-such-agent",)))
    assert failure.failure is FailureClass.MISSING_AGENT
    assert failure.failure.is_environment
    assert failure.reason == "no such executable: /opt/no-such-agent"


async def test_a_missing_secret_or_folder_is_named_before_anything_starts(driver: CommandDriver, workspace: Path):
    failure = await failed(driver, workspace, shell("touch ran", secrets=("OTHER_KEY",)))
    assert failure.failure is FailureClass.NOT_LOGGED_IN
    assert "OTHER_KEY" in failure.reason
    failure = await failed(driver, workspace, shell("touch ran", readonly_paths=(Path("/no/such/data"),)))
    assert failure.failure is FailureClass.CONFIGURATION
    assert "/no/such/data does not exist" in failure.reason
    assert os.listdir(workspace) == []


async def test_a_hanging_agent_is_ended_by_the_lesser_of_its_limits(driver: CommandDriver, workspace: Path):
    failure = await failed(driver, workspace, shell("sleep 600", timeout_seconds=300), limit_seconds=0.5)
    assert (failure.failure, failure.reason) == (FailureClass.TIMEOUT, "ran longer than 0.5 s")
    failure = await failed(driver, workspace, shell("sleep 600", timeout_seconds=0.5), limit_seconds=300)
    assert failure.failure is FailureClass.TIMEOUT
    failure = await failed(driver, workspace, shell("sleep 600", idle_seconds=0.5))
    assert failure.failure is FailureClass.IDLE


async def test_a_revoked_agent_still_says_what_it_used(driver: CommandDriver, workspace: Path):
    stop = asyncio.Event()
    source = (
        'trap \'echo "{\\"tokens\\":{\\"output\\":9}}" > $AUTOPACK_REPORT; exit 0\' TERM; '
        "touch started; while :; do sleep 0.05; done"
    )
    running = asyncio.create_task(failed(driver, workspace, shell(source), stop=stop))
    await until((workspace / "started").exists)
    stop.set()
    failure = await running
    assert failure.failure is FailureClass.REVOKED
    assert failure.usage.tokens == Tokens(output=9)


async def test_a_cancelled_build_leaves_no_folder_behind(driver: CommandDriver, workspace: Path):
    source = "touch started; sleep 600"
    running = asyncio.create_task(driver.build(shell(source), workspace, REQUEST, Session()))
    await until((workspace / "started").exists)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert os.listdir(driver.scratch_folder) == []


async def test_secrets_appear_in_neither_log_nor_report_nor_reason(driver: CommandDriver, workspace: Path):
    source = 'echo "{\\"summary\\":\\"used $MODEL_KEY\\"}" > $AUTOPACK_REPORT; echo key $MODEL_KEY >&2; '
    agent = shell(source, secrets=("MODEL_KEY",))
    answer = await built(driver, workspace, agent)
    assert answer.report.summary == "used [redacted]"
    assert answer.log == b"key [redacted]\n"
    failure = await failed(driver, workspace, shell(source + "exit 1", secrets=("MODEL_KEY",)))
    assert failure.reason == "exited with code 1: key [redacted]"


async def test_a_flood_is_no_failure_and_its_log_is_capped(driver: CommandDriver, workspace: Path):
    answer = await built(driver, workspace, shell("head -c 200000000 /dev/zero | tr '\\0' x; touch made"))
    assert (workspace / "made").exists()
    assert len(answer.log) <= 1 << 20
    assert b"bytes left out" in answer.log


async def audited(driver: CommandDriver, agent: CommandAgent) -> AuditAnswer | AgentFailure:
    return await driver.audit(agent, REQUEST, Session(limit_seconds=30))


async def test_an_auditor_gets_its_request_on_stdin_and_answers_on_stdout(driver: CommandDriver):
    source = (
        "import json, os, sys; request = json.load(sys.stdin); assert os.listdir('.') == [];"
        "print('thinking', file=sys.stderr);"
        "json.dump({'recommendation': 'approve', 'confidence': 'high', 'summary': request['run_id'],"
        " 'tokens': {'input': 6}}, sys.stdout)"
    )
    answer = await audited(driver, CommandAgent("scripted", ("python3", "-c", source)))
    assert isinstance(answer, AuditAnswer), answer
    assert answer.verdict.recommendation is Recommendation.APPROVE
    assert answer.verdict.confidence == 0.9
    assert answer.verdict.summary == "r"
    assert answer.usage.tokens == Tokens(input=6)
    assert b"thinking" in answer.log
    assert os.listdir(driver.scratch_folder) == []


APPROVAL = '{"recommendation":"approve","confidence":1}'


@pytest.mark.parametrize(
    ("source", "failure"),
    [
        ("true", FailureClass.BAD_ANSWER),
        ("echo LGTM", FailureClass.BAD_ANSWER),
        (f"echo '{APPROVAL}' extra", FailureClass.BAD_ANSWER),
        (f"echo '{APPROVAL}'; exit 1", FailureClass.EXIT_CODE),
        (f"echo '{APPROVAL}'; exec sleep 600", FailureClass.IDLE),
        (f"echo '{APPROVAL}'; head -c 9000000 /dev/zero | tr '\\0' ' '", FailureClass.TOO_LARGE),
        (f"echo '{APPROVAL}' >&2", FailureClass.BAD_ANSWER),
    ],
)
async def test_an_auditor_that_does_not_end_well_with_a_verdict_has_not_approved(
    driver: CommandDriver, source: str, failure: FailureClass
):
    idle_seconds = 1 if failure is FailureClass.IDLE else 60
    answer = await audited(driver, shell(source, idle_seconds=idle_seconds))
    assert isinstance(answer, AgentFailure), answer
    assert answer.failure is failure
    assert answer.reason


async def test_a_verdict_is_read_beside_the_event_loop(driver: CommandDriver, monkeypatch: pytest.MonkeyPatch):
    readers: list[threading.Thread] = []

    def reading(data: bytes) -> Verdict:
        readers.append(threading.current_thread())
        return read_verdict(data)

    monkeypatch.setattr("services.agents.command.read_verdict", reading)
    answer = await audited(driver, shell("""echo '{"recommendation": "approve", "confidence": 1}'"""))
    assert isinstance(answer, AuditAnswer)
    assert readers != [threading.current_thread()]


async def test_an_auditor_has_no_network_unless_its_operator_says_so(tmp_path: Path):
    driver = CommandDriver(await contained(), tmp_path / "scratch")
    source = "grep -c : /proc/net/dev >&2; exit 1"
    alone = await audited(driver, shell(source))
    connected = await audited(driver, shell(source, network=True))
    assert isinstance(alone, AgentFailure)
    assert isinstance(connected, AgentFailure)
    assert alone.reason == "exited with code 1: 1"
    assert connected.reason != alone.reason


async def test_a_sandbox_that_cannot_be_made_is_no_failure_of_the_agent(tmp_path: Path, workspace: Path):
    (workspace / "occupied").write_text("a file where a folder is to show")
    job = Job(("true",), workspace, readonly=(Mount(tmp_path, workspace / "occupied"),))
    with pytest.raises(SandboxUnavailable, match="bwrap: "):
        await (await contained()).run(job)
