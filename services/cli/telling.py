"""Events as lines for people: what happened, and the particulars of a setback."""

import re
from collections.abc import Iterator
from datetime import datetime

from events.codec import HistoryEvent
from events.families.apply import ApplyRequested, PatchRejected
from events.families.audit import AuditCompleted, AuditFailed, Recommendation
from events.families.base import Finding, Violation
from events.families.budget import BudgetExceeded, BudgetReserved
from events.families.build import BuildFailed
from events.families.integrate import IntegrationFailed, IntegrationRequested
from events.families.run import PrepareFailed, PrepareRequested, RunCancelRequested
from events.families.time import DeadlinePassed
from events.families.verify import CheckOutcome, CheckResult, ChecksFailed, ChecksRequested
from events.families.work import WorkRevoked, WorkStarted
from projections.summaries import summary
from services.cli.output import safe

PHASE_WIDTH = 14
TYPE_WIDTH = 18
OUTPUT_LINES = 3
_RULES = " \t-=_*#~"
"""Lines of these alone part others, and say nothing."""
_CLOSING = re.compile(r"Ran \d+ tests? in |FAILED \(|=+ .*\d+ (?:failed|passed).*=+$")
"""How test runners end: the exit code says as much."""

_ROUTINE = (
    PrepareRequested,
    WorkStarted,
    ApplyRequested,
    ChecksRequested,
    IntegrationRequested,
    BudgetReserved,
    DeadlinePassed,
)
_SETBACKS = (
    PrepareFailed,
    BuildFailed,
    AuditFailed,
    PatchRejected,
    ChecksFailed,
    IntegrationFailed,
    BudgetExceeded,
    WorkRevoked,
    RunCancelRequested,
)


def is_routine(event: HistoryEvent) -> bool:
    """Whether the event only says that something is about to be done."""
    return isinstance(event.event.data, _ROUTINE)


def is_setback(event: HistoryEvent) -> bool:
    """Whether the event says that something did not go straight on."""
    data = event.event.data
    if isinstance(data, AuditCompleted):
        return data.recommendation is not Recommendation.APPROVE
    return isinstance(data, _SETBACKS)


def told(event: HistoryEvent, since: datetime) -> list[str]:
    """An event in a line, with the time that has passed since `since`, and its particulars below."""
    data = event.event.data
    phase_id = getattr(data, "phase_id", None) or ""
    passed = clock((event.event.recorded_at - since).total_seconds())
    below = list(particulars(event))
    # What stands below in full is not said twice.
    said = summary(data).partition(": ")[0] if below else summary(data)
    head = f"{passed}  {phase_id:<{PHASE_WIDTH}}  {type(data).__name__:<{TYPE_WIDTH}}  {said}"
    indent = " " * (len(passed) + 2 + PHASE_WIDTH + 2)
    return [safe(head), *(safe(f"{indent}{line}") for line in below)]


def particulars(event: HistoryEvent) -> Iterator[str]:
    """Each violation, finding and red check that an event holds."""
    match event.event.data:
        case PatchRejected() as rejected:
            yield from map(_violation, rejected.violations)
        case AuditCompleted() as completed:
            yield from map(_finding, completed.findings)
            if completed.suggested_patches:
                yield f"a patch of its own: {len(completed.suggested_patches)}, tried in place of another attempt"
        case ChecksFailed() as failed:
            for check in failed.checks:
                if check.outcome is not CheckOutcome.PASSED:
                    yield from _red(check)
        case _:
            return


def _violation(violation: Violation) -> str:
    where = f" {violation.path}" if violation.path else ""
    return f"{violation.rule}{where}: {violation.message}"


def _finding(finding: Finding) -> str:
    line = f":{finding.line}" if finding.line is not None else ""
    where = f" {finding.path}{line}" if finding.path else ""
    return f"{finding.severity}{where}: {finding.message}"


def _red(check: CheckResult) -> Iterator[str]:
    exit_code = "" if check.exit_code is None else f" ({check.exit_code})"
    tries = f", {check.tries} tries" if check.tries > 1 else ""
    yield f"{check.name}: {check.outcome}{exit_code}{tries}"
    lines = [line for line in check.output.splitlines() if line.strip(_RULES) and not _CLOSING.match(line)]
    yield from (f"  {line}" for line in lines[-OUTPUT_LINES:])


def clock(seconds: float) -> str:
    """A duration as minutes and seconds, or hours where it is long."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes:02d}:{left:02d}"
