"""Each event in one line, for people."""

from typing import assert_never

from events.catalogue import AnyEventData
from events.families import apply, audit, budget, build, integrate, issue, phase, run, tier, time, verify, work
from events.families.base import Usage

LONGEST = 300

_Run = (
    run.RunRequested
    | run.PrepareRequested
    | run.RunPrepared
    | run.PrepareFailed
    | run.RunAccepted
    | run.RunCancelRequested
    | run.RunCompleted
    | run.RunFailed
    | run.RunPromoted
)
_TierOrPhase = (
    tier.TierStarted
    | tier.TierCompleted
    | phase.PhaseStarted
    | phase.PhaseCompleted
    | phase.PhaseFailed
    | phase.PhaseSkipped
    | phase.PhaseOverrideRequested
)
_Agent = (
    build.BuildRequested
    | build.BuildSucceeded
    | build.BuildFailed
    | audit.AuditRequested
    | audit.AuditCompleted
    | audit.AuditFailed
)
_Governed = (
    apply.ApplyRequested
    | apply.PatchAccepted
    | apply.PatchRejected
    | verify.ChecksRequested
    | verify.ChecksPassed
    | verify.ChecksFailed
    | integrate.IntegrationRequested
    | integrate.SnapshotCreated
    | integrate.IntegrationFailed
)
_Rest = (
    work.WorkStarted
    | work.WorkRevoked
    | issue.IssueReported
    | issue.IssueRecorded
    | budget.BudgetReserved
    | budget.BudgetSettled
    | budget.BudgetExceeded
    | time.DeadlinePassed
)


def summary(data: AnyEventData) -> str:
    """What the event says, in one line of at most `LONGEST` characters."""
    line = " ".join(_of_any(data).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _of_any(data: AnyEventData) -> str:
    if isinstance(data, _Run):
        return _of_run(data)
    if isinstance(data, _TierOrPhase):
        return _of_tier_or_phase(data)
    if isinstance(data, _Agent):
        return _of_agent(data)
    return _of_governed(data) if isinstance(data, _Governed) else _of_rest(data)


def _of_run(data: _Run) -> str:
    match data:
        case run.RunRequested():
            return f"{len(data.phases)} phases in {len(data.tiers)} tiers asked for"
        case run.PrepareRequested():
            return f"prepare {data.repository} at {data.base or 'its default branch'}"
        case run.RunPrepared():
            return f"based on {_short(data.base_commit)}"
        case run.PrepareFailed():
            return f"{data.failure}: {data.reason}"
        case run.RunAccepted():
            return f"strategy frozen for {len(data.strategy.phases)} phases"
        case run.RunCancelRequested():
            return data.reason or "cancelled"
        case run.RunCompleted():
            return f"{data.state}, {data.tokens_used} tokens"
        case run.RunFailed():
            return f"{data.state}: {data.reason}"
        case run.RunPromoted():
            return f"{data.branch} taken to {_short(data.commit)}"
        case _:
            assert_never(data)


def _of_tier_or_phase(data: _TierOrPhase) -> str:
    match data:
        case tier.TierStarted():
            return f"tier {data.tier_id} begins"
        case tier.TierCompleted():
            return f"tier {data.tier_id} is {data.state}, {data.cleanliness}"
        case phase.PhaseStarted():
            return f"its turn in tier {data.tier_id}"
        case phase.PhaseCompleted():
            return f"landed as {_short(data.commit)} after {_times(data.attempts, 'attempt')}"
        case phase.PhaseFailed():
            return f"{data.cause}: {data.reason}"
        case phase.PhaseSkipped():
            return data.reason or "skipped"
        case phase.PhaseOverrideRequested():
            return f"asked to be {data.state}"
        case _:
            assert_never(data)


def _of_agent(data: _Agent) -> str:
    match data:
        case build.BuildRequested():
            told = f", told of {_times(len(data.feedback), 'failure')}" if data.feedback else ""
            return f"attempt {data.attempt}{told}"
        case build.BuildSucceeded():
            lines = f"+{data.lines_added} -{data.lines_removed}"
            return f"{_times(len(data.files), 'file')}, {lines}, {_used(data.usage)}"
        case build.BuildFailed() | audit.AuditFailed():
            return f"{data.failure}: {data.reason}"
        case audit.AuditRequested():
            return f"audit {data.audit} of attempt {data.attempt}"
        case audit.AuditCompleted():
            return f"{data.recommendation} ({data.confidence:g}), {_times(len(data.findings), 'finding')}"
        case _:
            assert_never(data)


def _of_governed(data: _Governed) -> str:
    match data:
        case apply.ApplyRequested():
            return f"{_times(len(data.patches), 'patch', 'patches')} on {_short(data.parent)}"
        case apply.PatchAccepted():
            return f"candidate {_short(data.candidate)}, {_times(len(data.concerns), 'concern')}"
        case apply.PatchRejected():
            return f"{data.failure}, {_times(len(data.violations), 'violation')}: {data.reason}"
        case verify.ChecksRequested():
            return f"{data.profile}: {', '.join(check.name for check in data.checks)}"
        case verify.ChecksPassed():
            return f"{_times(len(data.checks), 'check')} green on {_short(data.candidate)}"
        case verify.ChecksFailed() | integrate.IntegrationFailed():
            return f"{data.failure}: {data.reason}"
        case integrate.IntegrationRequested():
            return f"{data.branch} to {_short(data.candidate)}"
        case integrate.SnapshotCreated():
            return f"{_short(data.commit)} is {data.tag}"
        case _:
            assert_never(data)


def _of_rest(data: _Rest) -> str:
    match data:
        case work.WorkStarted():
            return f"{data.agent or 'claimed'} by {data.instance}"
        case work.WorkRevoked():
            return str(data.reason)
        case issue.IssueReported() | issue.IssueRecorded():
            return f"{data.severity} issue {data.issue_key}: {data.message}"
        case budget.BudgetReserved():
            return f"{data.tokens} tokens set aside"
        case budget.BudgetSettled():
            return f"late: {_used(data.usage)}"
        case budget.BudgetExceeded():
            return data.reason
        case time.DeadlinePassed():
            return f"{data.kind} deadline of {data.due_at.isoformat(timespec='seconds')}"
        case _:
            assert_never(data)


def _short(commit: str | None) -> str:
    return commit[:12] if commit else "nothing"


def _times(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _used(usage: Usage) -> str:
    return f"{usage.tokens.total} tokens" if usage.tokens else "tokens unknown"
