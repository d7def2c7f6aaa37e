"""The catalogue: every event type, its version, and who may submit it to which topic."""

from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

from events.families import (
    apply,
    audit,
    budget,
    build,
    integrate,
    issue,
    phase,
    run,
    tier,
    time,
    verify,
    work,
)
from events.families.base import EventData


class Topic(StrEnum):
    """The topics of the log."""

    COMMANDS = "autopack.commands"
    RESULTS = "autopack.results"
    EVENTS = "autopack.events"
    REJECTIONS = "autopack.rejections"
    OUTPUT = "autopack.output"


AnyEventData = (
    run.RunRequested
    | run.PrepareRequested
    | run.RunPrepared
    | run.PrepareFailed
    | run.RunAccepted
    | run.RunCancelRequested
    | run.RunCompleted
    | run.RunFailed
    | run.RunPromoted
    | tier.TierStarted
    | tier.TierCompleted
    | phase.PhaseStarted
    | phase.PhaseCompleted
    | phase.PhaseFailed
    | phase.PhaseSkipped
    | phase.PhaseOverrideRequested
    | work.WorkStarted
    | work.WorkRevoked
    | build.BuildRequested
    | build.BuildSucceeded
    | build.BuildFailed
    | audit.AuditRequested
    | audit.AuditCompleted
    | audit.AuditFailed
    | apply.ApplyRequested
    | apply.PatchAccepted
    | apply.PatchRejected
    | verify.ChecksRequested
    | verify.ChecksPassed
    | verify.ChecksFailed
    | integrate.IntegrationRequested
    | integrate.SnapshotCreated
    | integrate.IntegrationFailed
    | issue.IssueReported
    | issue.IssueRecorded
    | budget.BudgetReserved
    | budget.BudgetSettled
    | budget.BudgetExceeded
    | time.DeadlinePassed
)
"""Every event there is; a `match` over it ends in `assert_never`."""

FAMILIES: dict[str, tuple[type[EventData], ...]] = {
    "run": (
        run.RunRequested,
        run.PrepareRequested,
        run.RunPrepared,
        run.PrepareFailed,
        run.RunAccepted,
        run.RunCancelRequested,
        run.RunCompleted,
        run.RunFailed,
        run.RunPromoted,
    ),
    "tier": (tier.TierStarted, tier.TierCompleted),
    "phase": (
        phase.PhaseStarted,
        phase.PhaseCompleted,
        phase.PhaseFailed,
        phase.PhaseSkipped,
        phase.PhaseOverrideRequested,
    ),
    "work": (work.WorkStarted, work.WorkRevoked),
    "build": (build.BuildRequested, build.BuildSucceeded, build.BuildFailed),
    "audit": (audit.AuditRequested, audit.AuditCompleted, audit.AuditFailed),
    "apply": (apply.ApplyRequested, apply.PatchAccepted, apply.PatchRejected),
    "verify": (verify.ChecksRequested, verify.ChecksPassed, verify.ChecksFailed),
    "integrate": (integrate.IntegrationRequested, integrate.SnapshotCreated, integrate.IntegrationFailed),
    "issue": (issue.IssueReported, issue.IssueRecorded),
    "budget": (budget.BudgetReserved, budget.BudgetSettled, budget.BudgetExceeded),
    "time": (time.DeadlinePassed,),
}

EVENT_TYPES: tuple[type[EventData], ...] = tuple(t for family in FAMILIES.values() for t in family)

BY_NAME = MappingProxyType({t.__name__: t for t in EVENT_TYPES})

_COMMANDS = (
    run.RunRequested,
    run.RunCancelRequested,
    run.RunPromoted,
    phase.PhaseOverrideRequested,
    issue.IssueReported,
    time.DeadlinePassed,
)

_RESULTS = (
    run.RunPrepared,
    run.PrepareFailed,
    work.WorkStarted,
    build.BuildSucceeded,
    build.BuildFailed,
    audit.AuditCompleted,
    audit.AuditFailed,
    apply.PatchAccepted,
    apply.PatchRejected,
    verify.ChecksPassed,
    verify.ChecksFailed,
    integrate.SnapshotCreated,
    integrate.IntegrationFailed,
)

SUBMITTED_TO = MappingProxyType(
    {**dict.fromkeys(_COMMANDS, Topic.COMMANDS), **dict.fromkeys(_RESULTS, Topic.RESULTS)}
)
"""Where a worker or emitter submits an event type; the supervisor alone writes all others."""


@lru_cache(maxsize=1024)
def event_name(type_name: str) -> str:
    """The name in a CloudEvents type: `RunRequested` in `autopack.RunRequested.v1`."""
    return type_name.partition(".")[2].rpartition(".v")[0]


def family_of(event_type: type[EventData]) -> str:
    """The name of the family that an event type belongs to."""
    return next(name for name, members in FAMILIES.items() if event_type in members)
