"""The apply family: the governed path from patches to a candidate commit."""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field

from events.families.base import (
    ArtifactRef,
    Commit,
    Concern,
    EventData,
    Identifier,
    Path,
    Seconds,
    Text,
    Usage,
    Value,
    Violation,
)
from events.families.failure import FailureClass


class CandidateOrigin(Value):
    """All that a candidate commit is made of, so that any machine makes the same commit again."""

    request_id: Identifier
    requested_at: datetime
    attempt: Annotated[int, Field(ge=1)]
    title: Text
    parent: Commit
    patches: tuple[ArtifactRef, ...]


class ApplyRequested(EventData):
    """The applier shall judge patches and make a candidate commit of them on `parent`."""

    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    title: Text
    repository: Path | None
    parent: Commit | None
    patches: tuple[ArtifactRef, ...]
    scope: tuple[Path, ...] | None
    allow: tuple[Path, ...] = ()
    protected: tuple[Path, ...] = ()
    limit_seconds: Seconds


class PatchAccepted(EventData):
    """The patches break no rule and apply; the candidate is a pure function of the request.

    Version 2 added `concerns`.
    """

    version: ClassVar[int] = 2

    request_id: Identifier
    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    parent: Commit
    candidate: Commit
    tree: Commit
    files: tuple[Path, ...] = ()
    concerns: tuple[Concern, ...] = ()
    usage: Usage = Usage()


class PatchRejected(EventData):
    """The patches do not become a candidate; `violations` lists every rule broken."""

    request_id: Identifier
    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    failure: FailureClass
    reason: Text
    violations: tuple[Violation, ...] = ()
    usage: Usage = Usage()
