"""The time family: deadlines that the supervisor sets itself."""

from enum import StrEnum

from pydantic import AwareDatetime

from events.families.base import EventData, Identifier


class DeadlineKind(StrEnum):
    """What ran out of time; `turn`: a run that waits in line may begin."""

    RUN = "run"
    REQUEST = "request"
    ENDING = "ending"
    INTEGRATION = "integration"
    TURN = "turn"


class DeadlinePassed(EventData):
    """A deadline has come. Refused where the log's own clock says that it has not."""

    kind: DeadlineKind
    request_id: Identifier | None = None
    due_at: AwareDatetime
