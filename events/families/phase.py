"""The phase family."""

from enum import StrEnum

from events.families.base import Commit, Count, EventData, Text
from events.families.failure import FailureClass
from events.states import PhaseState


class PhaseFailure(StrEnum):
    """Why a phase failed, as far as it decides how the run ends."""

    POLICY_VIOLATION = "policy_violation"
    OUT_OF_ATTEMPTS = "out_of_attempts"
    ESCALATED = "escalated"
    ENVIRONMENT = "environment"
    RUN_ENDED = "run_ended"


class PhaseStarted(EventData):
    """A phase's turn has come."""

    phase_id: str
    tier_id: str


class PhaseCompleted(EventData):
    """The phase's change is on the integration branch."""

    phase_id: str
    commit: Commit | None
    tag: str | None
    attempts: Count
    audits: Count = 0
    tokens_used: Count = 0


class PhaseFailed(EventData):
    """The phase ends without its change having landed."""

    phase_id: str
    cause: PhaseFailure
    failure: FailureClass | None
    reason: Text
    attempts: Count
    audits: Count = 0
    tokens_used: Count = 0


class PhaseSkipped(EventData):
    """The run ended before the phase's turn came."""

    phase_id: str
    reason: Text = ""


class PhaseOverrideRequested(EventData):
    """An operator asks for a phase to be set to a state."""

    phase_id: str
    state: PhaseState
    reason: Text = ""
