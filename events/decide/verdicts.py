"""What becomes of a submitted record before anything follows from it."""

from enum import StrEnum

from msgspec import Struct

from events.event import Event
from events.plan import Fault


class Reason(StrEnum):
    """Why a submitted record was refused; a promise to readers of the rejections."""

    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    UNKNOWN_TYPE = "unknown_type"
    INVALID_DATA = "invalid_data"
    INVALID_PLAN = "invalid_plan"
    QUARANTINED = "quarantined"
    WRONG_TOPIC = "wrong_topic"
    NOT_SUBMITTABLE = "not_submittable"
    DUPLICATE_RUN_ID = "duplicate_run_id"
    UNKNOWN_RUN = "unknown_run"
    RUN_ENDED = "run_ended"
    RUN_NOT_ENDED = "run_not_ended"
    UNKNOWN_REQUEST = "unknown_request"
    ALREADY_ANSWERED = "already_answered"
    REVOKED = "revoked"
    WRONG_ANSWER = "wrong_answer"
    CLAIM_STANDS = "claim_stands"
    EARLY_DEADLINE = "early_deadline"
    MOOT_DEADLINE = "moot_deadline"
    UNSUPPORTED = "unsupported"
    UNDECIDABLE = "undecidable"


class Admitted(Struct, frozen=True):
    """The record enters the history."""


class Duplicate(Struct, frozen=True):
    """The record is already in the history, from the same source with the same id: passed over silently."""


class Rejection(Struct, frozen=True):
    """The record is refused; `faults` name each place.

    `settles` are BudgetSettled events: what a late answer says was used is written down all the same.
    """

    reason: Reason
    message: str
    faults: tuple[Fault, ...] = ()
    settles: tuple[Event, ...] = ()


Verdict = Admitted | Duplicate | Rejection
