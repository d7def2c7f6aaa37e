import asyncio
import json
import secrets
import sys
from pathlib import Path
from typing import Any

import pytest

from events.families.audit import AuditCompleted, AuditFailed, Recommendation
from events.families.base import ArtifactRef, Concern, Probe, Tokens
from events.families.failure import FailureClass
from services.agents import CommandAgent
from support.repositories import commit, git, new_file_patch, patch_between
from support.workers import EVENT_LIMIT_BYTES, Home, event_bytes, open_home, shell, with_command_line

APPROVES = 'echo \'{"recommendation": "approve", "confidence": "high"}\''


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return await open_home(tmp_path)


def python(folder: Path, body: str) -> CommandAgent:
    """An auditor: Python, with the request as `request`, and `answer(...)` to print its verdict."""
    script = folder / "auditor.py"
    script.write_text(
        f"import json, sys\nrequest = json.load(sys.stdin)\ndef answer(**keys): print(json.dumps(keys))\n{body}\n"
    )
    return CommandAgent("python", (sys.executable, str(script)))


async def answered(
    home: Home, agent: CommandAgent | None, patches: list[ArtifactRef], limit_seconds: float = 60.0, **request: Any
) -> AuditCompleted | AuditFailed:
    assignment = home.assignment(home.audit_request(patches, **request), limit_seconds=limit_seconds)
    answer = await home.auditor(agent).perform(assignment)
    assert home.left_over() == []
    assert event_bytes(answer) < EVENT_LIMIT_BYTES
    return answer


async def completed(home: Home, agent: CommandAgent, patches: list[ArtifactRef], **request: Any) -> AuditCompleted:
    answer = await answered(home, agent, patches, **request)
    assert isinstance(answer, AuditCompleted), answer
    return answer


async def failed(home: Home, agent: CommandAgent, patches: list[ArtifactRef], **request: Any) -> AuditFailed:
    answer = await answered(home, agent, patches, **request)
    assert isinstance(answer, AuditFailed), answer
    return answer


async def one_patch(home: Home) -> list[ArtifactRef]:
    return [await home.store.put(new_file_patch("src/new.py", "one = 1\n"))]


async def test_an_approval_comes_with_its_confidence_and_what_it_cost(home: Home, tmp_path: Path):
    body = "answer(recommendation='approve', confidence=0.75, tokens={'input': 5, 'output': 2}, cost_usd=0.5)"
    answer = await completed(home, python(tmp_path, body), await one_patch(home))
    assert (answer.recommendation, answer.confidence) == (Recommendation.APPROVE, 0.75)
    assert (answer.usage.tokens, answer.usage.cost_usd) == (Tokens(input=5, output=2), 0.5)


async def test_the_auditor_is_told_what_its_contract_says_and_sees_no_file(home: Home, tmp_path: Path):
    body = (
        "import os\n"
        "told = dict(request, files=os.listdir('.'))\n"
        "answer(recommendation='revise', confidence=1.0, findings=[{'message': json.dumps(told)}])"
    )
    concerns = (Concern(kind="tests_removed", path="tests/test_cart.py"),)
    probes = (Probe(name="lint", outcome="passed"),)
    asked = {"concerns": concerns, "probes": probes, "focus": "totals", "context": "a shop"}
    patch = new_file_patch("a", "text\n")
    script = python(tmp_path, body.replace("json.dumps(told)", "json.dumps(sorted(told))"))
    answer = await completed(home, script, [await home.store.put(patch)], **asked)
    assert json.loads(answer.findings[0].message) == [
        *("attempt", "auditor_profile", "concerns", "context", "diff", "files"),
        *("focus", "phase", "probes", "run_id"),
    ]
    body = (
        "import os\n"
        "told = [request[key] for key in ('diff', 'focus', 'context', 'auditor_profile')] + [os.listdir('.')]\n"
        "answer(recommendation='revise', confidence=1.0, findings=[{'message': json.dumps(told)}])"
    )
    answer = await completed(home, python(tmp_path, body), [await home.store.put(patch)], **asked)
    told = json.loads(answer.findings[0].message)
    assert told == [patch.decode(), "totals", "a shop", "refactor_review", []]


async def test_patches_one_upon_another_are_shown_as_one_change_of_the_base(home: Home, tmp_path: Path):
    repository, base = home.repository, home.base
    first = commit(
        repository, {"src/cart.py": "def total(prices):\n    return sum(prices) + 1\n", "b.py": "b = 1\n"}
    )
    second = commit(repository, {"src/cart.py": "def total(prices):\n    return max(prices)\n"})
    git(repository, "rm", "-q", "b.py")
    third = commit(repository, {"c.py": "c = 1\n"})
    patches = [await home.patch(*pair) for pair in ((base, first), (first, second), (second, third))]
    body = "open('/dev/stderr', 'w').write(request['diff']); answer(recommendation='approve', confidence=1)"
    answer = await completed(home, python(tmp_path, body), patches, base_commit=base)
    assert answer.log is not None
    log = (await home.store.get(answer.log.digest)).decode()
    diff = log[: log.index('{"recommendation"')]
    assert diff.encode() == patch_between(repository, base, third)
    assert "b.py" not in diff
    assert "+ 1" not in diff


async def test_a_revision_may_bring_a_patch_of_the_auditors_own(home: Home, tmp_path: Path):
    patch = new_file_patch("src/own.py", "mine = 1\n").decode()
    body = (
        f"answer(recommendation='revise', confidence='low', suggested_patches=[{patch!r}],\n"
        "       findings=[{'severity': 'major', 'path': 'src/new.py', 'line': 3, 'message': 'wrong'}])"
    )
    answer = await completed(home, python(tmp_path, body), await one_patch(home))
    assert answer.recommendation is Recommendation.REVISE
    assert [(found.severity, found.path, found.line) for found in answer.findings] == [("major", "src/new.py", 3)]
    assert [await home.store.get(one.digest) for one in answer.suggested_patches] == [patch.encode()]


BAD_ANSWERS = {
    "nothing": "true",
    "prose": "echo I approve of this",
    "a list": "echo []",
    "two answers": f"{APPROVES}; {APPROVES}",
    "an unknown recommendation": 'echo \'{"recommendation": "lgtm", "confidence": 1}\'',
    "no confidence": 'echo \'{"recommendation": "approve"}\'',
    "a number that is none": 'echo \'{"recommendation": "approve", "confidence": NaN}\'',
    "an unknown key": 'echo \'{"recommendation": "approve", "confidence": 1, "finding": []}\'',
    "a patch that no file can hold": (
        'echo \'{"recommendation": "revise", "confidence": 1, "suggested_patches": ["\\ud800"]}\''
    ),
    "deep nesting": "head -c 200000 /dev/zero | tr '\\0' '['",
}


@pytest.mark.parametrize("kind", BAD_ANSWERS)
async def test_anything_but_one_verdict_is_no_approval(home: Home, kind: str):
    answer = await failed(home, shell(BAD_ANSWERS[kind]), await one_patch(home))
    assert answer.failure is FailureClass.BAD_ANSWER


async def test_an_answer_without_end_is_too_large(home: Home):
    answer = await failed(home, shell("head -c 20000000 /dev/zero | tr '\\0' x"), await one_patch(home))
    assert answer.failure is FailureClass.TOO_LARGE


async def test_a_failing_hanging_or_missing_auditor_is_no_approval(home: Home):
    patches = await one_patch(home)
    answer = await failed(home, shell(f"{APPROVES}; exit 3"), patches)
    assert answer.failure is FailureClass.EXIT_CODE
    answer = await failed(home, shell(f"{APPROVES}; sleep 600"), patches, limit_seconds=1.0)
    assert answer.failure is FailureClass.TIMEOUT
    answer = await failed(home, shell(f"{APPROVES}; sleep 600", idle_seconds=0.5), patches)
    assert answer.failure is FailureClass.IDLE
    answer = await failed(home, CommandAgent("gone", ("/no/such/auditor",)), patches)
    assert answer.failure is FailureClass.MISSING_AGENT
    missing = await answered(home, None, patches)
    assert isinstance(missing, AuditFailed)
    assert missing.failure is FailureClass.MISSING_AGENT


async def test_patches_that_do_not_go_together_are_a_conflict(home: Home):
    patches = [await home.store.put(new_file_patch("a.py", text)) for text in ("a = 1\n", "a = 2\n")]
    answer = await failed(home, shell(APPROVES), patches)
    assert answer.failure is FailureClass.CONFLICT
    assert "a.py" in answer.reason


async def test_a_thousand_findings_still_fit_into_an_event(home: Home, tmp_path: Path):
    body = (
        "long = '\\u4e2d\"\\\\' * 500\n"
        "long = {'message': long, 'path': long, 'category': long, 'issue_key': long}\n"
        "minor = [long] * 100 + [{'message': 'short'}] * 899\n"
        "grave = [{'severity': 'major', 'message': 'the grave one'}]\n"
        "patches = ['x' * 1000 + str(n) for n in range(20)]\n"
        "answer(recommendation='revise', confidence=1, findings=minor + grave, suggested_patches=patches)"
    )
    answer = await completed(home, python(tmp_path, body), await one_patch(home))
    assert answer.findings[0].message == "the grave one"
    assert len(answer.findings) > 5
    assert len(answer.suggested_patches) == 20


async def test_an_audit_without_a_repository_shows_the_patches_as_they_are(home: Home, tmp_path: Path):
    patches = [await home.store.put(b"one\n"), await home.store.put(b"two\n")]
    body = "answer(recommendation='revise', confidence=1, findings=[{'message': request['diff']}])"
    answer = await completed(home, python(tmp_path, body), patches, repository=None, base_commit=None)
    assert answer.findings[0].message == "one\n\ntwo\n"


async def test_a_revoked_audit_says_what_its_agent_used(home: Home):
    report = 'echo \'{"tokens": {"input": 10, "output": 4}, "cost_usd": 0.5}\' > $AUTOPACK_REPORT'
    source = f"report() {{ {report}; exit 0; }}; trap report TERM; echo begun; while :; do sleep 0.05; done"
    assignment = home.assignment(home.audit_request(await one_patch(home)))
    running = asyncio.create_task(home.auditor(shell(source)).perform(assignment))
    async with asyncio.timeout(20):
        while home.lines != ["begun"]:
            await asyncio.sleep(0.01)
    assignment.revoked.set()
    answer = await running
    assert isinstance(answer, AuditFailed)
    assert answer.failure is FailureClass.REVOKED
    assert (answer.usage.tokens, answer.usage.cost_usd) == (Tokens(input=10, output=4), 0.5)
    assert home.left_over() == []


async def test_a_cancelled_audit_kills_its_agent_and_leaves_nothing(home: Home):
    word = f"agent-{secrets.token_hex(8)}"
    agent = shell(f"trap '' TERM; : {word}; echo begun; while :; do sleep 0.1; done")
    assignment = home.assignment(home.audit_request(await one_patch(home)))
    running = asyncio.create_task(home.auditor(agent).perform(assignment))
    async with asyncio.timeout(20):
        while home.lines != ["begun"]:
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert with_command_line(word) == []
    assert home.left_over() == []
