"""The integrate family: the one compare-and-swap at the target repository."""

from typing import Annotated

from pydantic import Field

from events.families.apply import CandidateOrigin
from events.families.base import Commit, EventData, Identifier, Path, Seconds, Text, Usage
from events.families.failure import FailureClass


class IntegrationRequested(EventData):
    """The applier shall move the integration branch from `expected_head` to the candidate, then tag it.

    `expected_head` None means that the branch does not exist yet.
    """

    phase_id: str
    tier_id: str
    attempt: Annotated[int, Field(ge=1)]
    repository: Path | None
    candidate: Commit
    origin: CandidateOrigin
    branch: str
    expected_head: Commit | None
    tag: str
    unchecked: bool = False
    limit_seconds: Seconds


class SnapshotCreated(EventData):
    """The integration branch is at the commit, and the tag names it."""

    request_id: Identifier
    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    commit: Commit
    tag: str
    unchecked: bool = False
    usage: Usage = Usage()


class IntegrationFailed(EventData):
    """The branch was not moved. With failure `moved`, `head` is where it stands now."""

    request_id: Identifier
    phase_id: str
    attempt: Annotated[int, Field(ge=1)]
    failure: FailureClass
    reason: Text
    head: Commit | None = None
    usage: Usage = Usage()
