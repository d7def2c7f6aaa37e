"""The verify family: the authoritative checks on a candidate."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from events.configuration import Check, Preparation
from events.families.apply import CandidateOrigin
from events.families.base import (
    LARGEST_COUNT,
    ArtifactRef,
    Commit,
    Count,
    EventData,
    Identifier,
    Path,
    Seconds,
    SmallNumber,
    Text,
    Usage,
    Value,
)
from events.families.failure import FailureClass


class CheckOutcome(StrEnum):
    """How one check ended."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    NOT_STARTED = "not_started"


class CheckResult(Value):
    """One check. `tests` is None where no report was found; `flaky` passed only on a later try."""

    name: Text
    outcome: CheckOutcome
    exit_code: SmallNumber | None = None
    tries: Annotated[int, Field(ge=1)] = 1
    flaky: bool = False
    tests: Count | None = None
    duration_seconds: Seconds = 0.0
    output: Text = ""
    log: ArtifactRef | None = None


RESULTS_LIMIT_BYTES = 44_000
"""What the results of all checks may take of the event that tells them."""


def barest_results(checks: Sequence[Check]) -> tuple[CheckResult, ...]:
    """The results of checks that pass, without output and log, and with numbers longer than any that come up."""
    bare = CheckResult(
        name="",
        outcome=CheckOutcome.PASSED,
        exit_code=0,
        tries=99,
        tests=LARGEST_COUNT,
        duration_seconds=999_999.123456,
    )
    return tuple(bare.model_copy(update={"name": check.name}) for check in checks)


class ChecksRequested(EventData):
    """The verifier shall run these checks on this very candidate."""

    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    repository: Path | None
    candidate: Commit
    tree: Commit
    base_commit: Commit | None
    origin: CandidateOrigin
    profile: str
    checks: tuple[Check, ...]
    prepare: Preparation | None = None
    tries: Annotated[int, Field(ge=1)]
    try_pause_seconds: Seconds
    limit_seconds: Seconds


class ChecksPassed(EventData):
    """Every check exited 0 on the candidate."""

    request_id: Identifier
    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    candidate: Commit
    tree: Commit
    checks: tuple[CheckResult, ...]
    usage: Usage = Usage()


class ChecksFailed(EventData):
    """A check was red, or the checks could not be run."""

    request_id: Identifier
    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    candidate: Commit
    failure: FailureClass
    reason: Text
    checks: tuple[CheckResult, ...] = ()
    usage: Usage = Usage()
