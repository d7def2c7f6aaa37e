"""What an agent answers, as values: a build, a verdict, or a failure; never an exception."""

from dataclasses import dataclass

from events.families.audit import Recommendation
from events.families.failure import FailureClass


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens by kind, as reported; None is unknown, not zero."""

    input: int | None = None
    cached_input: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What the work cost. `tokens` and `cost_usd` are None where the agent did not say."""

    tokens: Tokens | None = None
    cost_usd: float | None = None
    duration_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Probe:
    """A check that the agent ran for itself."""

    name: str
    outcome: str = ""
    exit_code: int | None = None
    output: str = ""


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that the agent noticed; `severity` (minor, major) is None where it did not say."""

    issue_key: str
    severity: str | None = None
    category: str = ""
    message: str = ""
    paths: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark of an auditor; `severity` is minor or major."""

    severity: str = "minor"
    category: str = ""
    path: str | None = None
    line: int | None = None
    message: str = ""
    issue_key: str | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a builder wrote about its work; `notes` say what of it could not be used."""

    summary: str = ""
    needs_review: bool = False
    tokens: Tokens | None = None
    cost_usd: float | None = None
    probes: tuple[Probe, ...] = ()
    issues: tuple[Issue, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an auditor thinks of a change; `confidence` is from 0 to 1, patches are unified diffs."""

    recommendation: Recommendation
    confidence: float
    findings: tuple[Finding, ...] = ()
    suggested_patches: tuple[str, ...] = ()
    summary: str = ""
    tokens: Tokens | None = None
    cost_usd: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildAnswer:
    """A builder that ended well. What it changed stands in its work folder. `log` is its output, capped."""

    report: Report
    usage: Usage
    sandbox: str
    log: bytes


@dataclass(frozen=True, slots=True)
class AuditAnswer:
    """An auditor that ended well, with a verdict."""

    verdict: Verdict
    usage: Usage
    sandbox: str
    log: bytes


@dataclass(frozen=True, slots=True)
class AgentFailure:
    """An agent that gave nothing to go on with, and why. What it used is known where it still said so."""

    failure: FailureClass
    reason: str
    usage: Usage = Usage()
    sandbox: str = ""
    log: bytes = b""
