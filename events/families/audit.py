"""The audit family."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from events.families.base import (
    ArtifactRef,
    Commit,
    Concern,
    Count,
    EventData,
    Finding,
    Identifier,
    Path,
    Probe,
    Seconds,
    Text,
    Usage,
)
from events.families.failure import FailureClass
from events.plan import PhaseSpec


class Recommendation(StrEnum):
    """What an auditor says of a change; never a transition by itself."""

    APPROVE = "approve"
    REVISE = "revise"
    ESCALATE = "escalate"


class AuditRequested(EventData):
    """An auditor shall look at patches, applied one after another on the base."""

    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    audit: Annotated[int, Field(ge=1)]
    spec: PhaseSpec
    repository: Path | None
    base_commit: Commit | None
    patches: tuple[ArtifactRef, ...]
    concerns: tuple[Concern, ...] = ()
    probes: tuple[Probe, ...] = ()
    auditor_profile: Text | None = None
    focus: Text = "general"
    context: Text = ""
    tokens_left: Count | None
    limit_seconds: Seconds
    agent: Text | None = None


class AuditCompleted(EventData):
    """An auditor's verdict. Suggested patches apply on top of the patches that were audited."""

    request_id: Identifier
    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    recommendation: Recommendation
    confidence: Annotated[float, Field(ge=0, le=1)]
    findings: tuple[Finding, ...] = ()
    suggested_patches: tuple[ArtifactRef, ...] = ()
    usage: Usage = Usage()
    log: ArtifactRef | None = None


class AuditFailed(EventData):
    """An auditor gave no usable verdict; never an approval."""

    request_id: Identifier
    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    failure: FailureClass
    reason: Text
    usage: Usage = Usage()
    log: ArtifactRef | None = None
