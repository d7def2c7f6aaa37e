"""The build family."""

from typing import Annotated

from pydantic import Field

from events.configuration import Preparation
from events.families.base import (
    ArtifactRef,
    Commit,
    Count,
    EventData,
    Feedback,
    Identifier,
    Path,
    Probe,
    Seconds,
    SuggestedIssue,
    Text,
    Usage,
)
from events.families.failure import FailureClass
from events.plan import PhaseSpec


class BuildRequested(EventData):
    """A builder shall turn a phase into a patch. `agent` None is the operator's default.

    `prepare` runs on `prepare_at`, the run's base, so that one result serves every phase and its checks.
    """

    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    spec: PhaseSpec
    repository: Path | None
    base_commit: Commit | None
    feedback: tuple[Feedback, ...] = ()
    tokens_left: Count | None
    seconds_left: Seconds | None
    limit_seconds: Seconds
    agent: Text | None = None
    prepare: Preparation | None = None
    prepare_at: Commit | None = None


class BuildSucceeded(EventData):
    """A builder has a patch."""

    request_id: Identifier
    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    patch: ArtifactRef
    files: tuple[Path, ...] = ()
    lines_added: Count = 0
    lines_removed: Count = 0
    usage: Usage = Usage()
    summary: Text = ""
    needs_review: bool = False
    probes: tuple[Probe, ...] = ()
    issues: tuple[SuggestedIssue, ...] = ()
    log: ArtifactRef | None = None


class BuildFailed(EventData):
    """A builder has no patch."""

    request_id: Identifier
    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    failure: FailureClass
    reason: Text
    usage: Usage = Usage()
    log: ArtifactRef | None = None
