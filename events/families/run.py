"""The run family: from the request to the terminal event."""

from typing import Annotated

from pydantic import Field

from events.configuration import Checks, Configuration
from events.families.base import Commit, Count, EventData, Identifier, Path, Seconds, Text, Value
from events.families.failure import FailureClass
from events.plan import RunRequest
from events.states import RunState


class RunRequested(EventData, RunRequest):
    """Somebody asks for a run. Enters the history at once when well formed and its id is new."""


class PrepareRequested(EventData):
    """The applier shall find the base commit and read `autopack.toml` there."""

    repository: Path
    base: Text | None
    limit_seconds: Seconds


class RunPrepared(EventData):
    """The repository can be used: its base commit, default branch and configuration."""

    request_id: Identifier
    base_commit: Commit
    default_branch: Text | None = None
    configuration: Configuration = Configuration()


class PrepareFailed(EventData):
    """The repository or its configuration cannot be used."""

    request_id: Identifier
    failure: FailureClass
    reason: Text


class PhaseStrategy(Value):
    """What the rulebook says of one phase, frozen for the run."""

    phase_id: str
    category: str
    complexity: str
    ci_profile: str
    builder_attempts: Annotated[int, Field(ge=1)]
    auditor_attempts: Annotated[int, Field(ge=0)]
    incident_token_cap: Count
    minor_issues_limit: float
    audit_required: bool
    auditor_profile: str | None
    severity: str


class Limits(Value):
    """Time limits of requests, counted from a claim, and how checks are tried again."""

    builder_seconds: Seconds
    auditor_seconds: Seconds
    apply_seconds: Seconds
    integration_seconds: Seconds
    check_tries: int
    check_try_pause_seconds: Seconds


class Strategy(Value):
    """The frozen rules of a run. `checks` None means the run said that it has none."""

    phases: tuple[PhaseStrategy, ...]
    limits: Limits
    checks: Checks | None
    protected: tuple[Path, ...] = ()


class BacklogEntry(Value):
    """An issue of the project's backlog as it stood when the run was accepted."""

    issue_key: str
    severity: str
    age_in_runs: Count
    age_in_tiers: Count


class RunAccepted(EventData):
    """The run begins; its strategy does not change any more."""

    base_commit: Commit | None
    integration_branch: str | None
    strategy: Strategy
    backlog: tuple[BacklogEntry, ...] = ()


class RunCancelRequested(EventData):
    """An operator ends the run."""

    reason: Text = ""
    requested_by: Text = ""


class Incident(Value):
    """What a reader of a failed run looks at first."""

    phase_id: str | None = None
    stage: str | None = None
    failure: FailureClass | None = None
    last_attempt: Count = 0
    details: tuple[Text, ...] = ()


class _RunEnded(EventData):
    state: RunState
    head_commit: Commit | None
    tokens_used: Count
    tokens_are_lower_bound: bool
    ci_runs_used: Count


class RunCompleted(_RunEnded):
    """Every phase is complete."""

    state: RunState = RunState.DONE_SUCCESS


class RunFailed(_RunEnded):
    """The run ended in a DONE_FAILED_* state. A refused run ends here without having been accepted."""

    reason: Text
    incident: Incident = Incident()


class RunPromoted(EventData):
    """The run's result was taken over into another branch, fast-forward only."""

    branch: Text
    commit: Commit
    promoted_by: Text = ""


ENDED: tuple[type[EventData], ...] = (RunCompleted, RunFailed)
