"""What every event's data shares, and the value types that several families use."""

from functools import cache
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Value(BaseModel):
    """An immutable value inside an event. Unknown keys are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null", allow_inf_nan=False)


class EventData(Value):
    """The `data` of one event type. The class name is the event's name."""

    version: ClassVar[int] = 1

    @classmethod
    @cache
    def type_name(cls) -> str:
        """The CloudEvents type, e.g. `autopack.RunRequested.v1`."""
        return f"autopack.{cls.__name__}.v{cls.version}"


Identifier = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Commit = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
LARGEST_COUNT = 2**53 - 1
LONGEST_SECONDS = 999_999_999.0
LONGEST_TEXT = 4000

Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
SmallNumber = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Seconds = Annotated[float, Field(ge=0, le=LONGEST_SECONDS)]
Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]
Path = Annotated[str, StringConstraints(max_length=4096)]
CostUsd = Annotated[float, Field(ge=0, lt=1e9)]


class ArtifactRef(Value):
    """A blob in the artifact store, by the SHA-256 of its content."""

    digest: Digest
    size_bytes: Count


class Tokens(Value):
    """Tokens by kind; every kind counts once, reasoning is part of output."""

    input: Count = 0
    cached_input: Count = 0
    cache_write: Count = 0
    output: Count = 0
    reasoning: Count = 0

    @property
    def total(self) -> int:
        """What counts against a budget."""
        return self.input + self.cached_input + self.cache_write + self.output


class Usage(Value):
    """What a piece of work cost. `tokens` is None where the agent did not say: unknown, not zero."""

    tokens: Tokens | None = None
    cost_usd: CostUsd | None = None
    duration_seconds: Seconds = 0.0


class Finding(Value):
    """One remark of an auditor on a change."""

    severity: Text = "minor"
    category: Text = ""
    path: Path | None = None
    line: SmallNumber | None = None
    message: Text = ""
    issue_key: Text | None = None


class Violation(Value):
    """One rule of the policy that a patch breaks, and where."""

    rule: Text
    path: Path | None = None
    message: Text = ""


class Concern(Value):
    """Something in a patch that no policy forbids and that an auditor must see before checks run."""

    kind: Text
    path: Path | None = None
    message: Text = ""


class Probe(Value):
    """A check that an agent ran for itself; never authoritative."""

    name: Text
    outcome: Text = ""
    exit_code: SmallNumber | None = None
    output: Text = ""


class SuggestedIssue(Value):
    """An issue that an agent noticed on its way."""

    issue_key: Text
    severity: Text = "minor"
    category: Text = ""
    message: Text = ""
    paths: tuple[Path, ...] = ()
    evidence: tuple[Text, ...] = ()


class CheckFeedback(Value):
    """What a red check printed last."""

    name: Text
    outcome: Text
    output: Text = ""


class Feedback(Value):
    """Why an earlier attempt failed, for the agent that tries again."""

    attempt: Count
    stage: str
    summary: Text
    findings: tuple[Finding, ...] = ()
    violations: tuple[Violation, ...] = ()
    checks: tuple[CheckFeedback, ...] = ()
