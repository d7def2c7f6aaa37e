"""Agents that are commands: the request goes in as JSON, and what comes back becomes an answer."""

import asyncio
import contextlib
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from events.families.failure import FailureClass
from services.agents.answers import AgentFailure, AuditAnswer, BuildAnswer, Report, Usage
from services.agents.configuration import CommandAgent
from services.agents.reading import AnswerUnreadable, clean
from services.agents.report import read_report
from services.agents.verdict import read_verdict
from services.processes import Completed, Ending
from services.processes.finishing import in_any_case
from services.sandbox import (
    WORKSPACE,
    Job,
    Mount,
    Sandbox,
    SandboxUnavailable,
    SecretForbidden,
    SecretMissing,
    work_folder,
)

REQUEST_VARIABLE = "AUTOPACK_REQUEST"
REPORT_VARIABLE = "AUTOPACK_REPORT"
LARGEST_REPORT_BYTES = 1 << 20
LOG_CAP_BYTES = 1 << 20
VERDICT_CAP_BYTES = 8 << 20
REASON_BYTES = 2000
GRACE_SECONDS = 3.0
"""A run that ends waits 5 s for what its agents used: one that does not listen must be dead before."""


@dataclass(frozen=True, slots=True)
class _Folders:
    """Where an agent finds its request and leaves its report, outside of its clone."""

    request: Path
    report: Path


@dataclass(frozen=True, slots=True)
class Session:
    """How one request is worked: its time left, the wish to end it, who watches, and what is lent.

    `limit_seconds` lowers the agent's own limit; `on_line` is told lines of output and must not raise;
    `lent` shows within a builder's clone.
    """

    limit_seconds: float | None = None
    stop: asyncio.Event | None = None
    on_line: Callable[[str], None] | None = None
    lent: tuple[Mount, ...] = ()


@dataclass(frozen=True, slots=True)
class CommandDriver:
    """Drives command agents in a sandbox; `scratch_folder` holds their requests and reports meanwhile."""

    sandbox: Sandbox
    scratch_folder: Path

    async def build(
        self, agent: CommandAgent, workspace: Path, request: bytes, session: Session
    ) -> BuildAnswer | AgentFailure:
        """Have a builder change the clone in `workspace`. `request` is JSON.

        Exit code 0 is success, whatever the report is like: the change itself stands in the workspace.
        """
        async with self._folders(request) as folders:
            done = await self._run(agent, workspace, request, folders, session, LOG_CAP_BYTES)
            if isinstance(done, AgentFailure):
                return done
            report = await asyncio.to_thread(self._report, agent, folders.report)
        usage = Usage(report.tokens, report.cost_usd, done.duration_seconds)
        failure = _failure(done, usage, self.sandbox.name)
        return failure or BuildAnswer(report, usage, self.sandbox.name, _log(done))

    async def audit(self, agent: CommandAgent, request: bytes, session: Session) -> AuditAnswer | AgentFailure:
        """Have an auditor judge what `request` (JSON) holds; it starts in an empty folder.

        Anything but exit code 0 and one valid verdict on stdout is a failure.
        """
        async with self._folders(request) as folders:
            workspace = folders.report.parent / "work"
            await asyncio.to_thread(workspace.mkdir)
            done = await self._run(agent, workspace, request, folders, session, VERDICT_CAP_BYTES)
            if isinstance(done, AgentFailure):
                return done
            report = await asyncio.to_thread(self._report, agent, folders.report)
        usage = Usage(report.tokens, report.cost_usd, done.duration_seconds)
        failure = _failure(done, usage, self.sandbox.name)
        if failure is not None:
            return failure
        # In a thread: an answer may be large, and made to take long.
        return await asyncio.to_thread(_audit_answer, done, usage, self.sandbox.name)

    async def _run(
        self,
        agent: CommandAgent,
        workspace: Path,
        request: bytes,
        folders: _Folders,
        session: Session,
        cap_bytes: int,
    ) -> Completed | AgentFailure:
        missing = [path for path in agent.readonly_paths if not path.exists()]
        if missing:
            return AgentFailure(FailureClass.CONFIGURATION, f"agent {agent.name}: {missing[0]} does not exist")
        try:
            return await self.sandbox.run(
                _job(agent, workspace, request, folders, session, cap_bytes), session.stop
            )
        except SecretMissing as error:
            return AgentFailure(FailureClass.NOT_LOGGED_IN, f"agent {agent.name}: {error}")
        except SecretForbidden as error:
            return AgentFailure(FailureClass.CONFIGURATION, f"agent {agent.name}: {error}")
        except SandboxUnavailable as error:
            return AgentFailure(FailureClass.SANDBOX_UNAVAILABLE, clean(str(error), REASON_BYTES))

    @contextlib.asynccontextmanager
    async def _folders(self, request: bytes) -> AsyncIterator[_Folders]:
        async with work_folder(self.scratch_folder / f"agent-{secrets.token_hex(8)}", 0o700) as folder:
            await in_any_case(asyncio.to_thread(_fill, folder, request))
            yield _Folders(folder / "request.json", folder / "report")

    def _report(self, agent: CommandAgent, folder: Path) -> Report:
        try:
            data = _read_own_file(folder / "report.json")
        except OSError as error:
            return Report(notes=(f"the report was not used: {error.strerror}",))
        if data is None:
            return Report()
        redactor = self.sandbox.redactor(agent.secrets)
        return read_report(redactor.feed(data) + redactor.flush())


def _job(
    agent: CommandAgent, workspace: Path, request: bytes, folders: _Folders, session: Session, cap_bytes: int
) -> Job:
    limits = [limit for limit in (agent.timeout_seconds, session.limit_seconds) if limit is not None]
    report = folders.report / "report.json"
    return Job(
        argv=agent.argv,
        work_folder=workspace,
        shown_at=WORKSPACE,
        stdin=request,
        network=agent.network,
        secrets=agent.secrets,
        variables={REQUEST_VARIABLE: str(folders.request), REPORT_VARIABLE: str(report)},
        readonly_paths=(*agent.readonly_paths, folders.request),
        readonly=session.lent,
        writable_paths=(folders.report,),
        limit_seconds=min(limits),
        idle_seconds=agent.idle_seconds,
        grace_seconds=GRACE_SECONDS,
        output_cap_bytes=cap_bytes,
        on_line=session.on_line,
    )


def _fill(folder: Path, request: bytes) -> None:
    (folder / "request.json").write_bytes(request)
    (folder / "report").mkdir()


def _read_own_file(path: Path) -> bytes | None:
    """Read a file where an agent may have put anything: a link out of its sandbox, a pipe, an endless file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "it is not a regular file")
        if status.st_size > LARGEST_REPORT_BYTES:
            raise OSError(0, f"it is larger than {LARGEST_REPORT_BYTES} bytes")
        return file.read(LARGEST_REPORT_BYTES)


def _failure(done: Completed, usage: Usage, sandbox: str) -> AgentFailure | None:
    """Say why an agent that has ended did not end well; None if it did."""
    match done.ending:
        case Ending.EXITED:
            if done.exit_code == 0:
                return None
            failure, reason = FailureClass.EXIT_CODE, f"{done.reason}: {_last_words(done)}"
        case Ending.TIMED_OUT:
            failure, reason = FailureClass.TIMEOUT, done.reason
        case Ending.IDLE:
            failure, reason = FailureClass.IDLE, done.reason
        case Ending.STOPPED:
            failure, reason = FailureClass.REVOKED, done.reason
        case Ending.FAILED_TO_START:
            failure, reason = FailureClass.MISSING_AGENT, done.reason
        case _:
            assert_never(done.ending)
    return AgentFailure(failure, clean(reason, REASON_BYTES), usage, sandbox, _log(done))


def _log(done: Completed) -> bytes:
    return done.output.data[-LOG_CAP_BYTES:]


def _last_words(done: Completed) -> str:
    return done.stderr.last_text(REASON_BYTES // 2) or done.stdout.last_text(REASON_BYTES // 2) or "no output"


def _audit_answer(done: Completed, usage: Usage, sandbox: str) -> AuditAnswer | AgentFailure:
    log = _log(done)
    if not done.stdout.complete:
        reason = f"the answer of {done.stdout.total_bytes} bytes is larger than {VERDICT_CAP_BYTES}"
        return AgentFailure(FailureClass.TOO_LARGE, reason, usage, sandbox, log)
    try:
        verdict = read_verdict(done.stdout.data)
    except AnswerUnreadable as error:
        return AgentFailure(FailureClass.BAD_ANSWER, clean(str(error), REASON_BYTES), usage, sandbox, log)
    cost_usd = usage.cost_usd if verdict.cost_usd is None else verdict.cost_usd
    spent = Usage(verdict.tokens or usage.tokens, cost_usd, usage.duration_seconds)
    return AuditAnswer(verdict, spent, sandbox, log)
