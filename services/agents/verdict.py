"""The verdict of an auditor: one JSON object that says everything it must, or a failure, never an approval."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from events.families.audit import Recommendation
from services.agents.answers import Finding, Verdict
from services.agents.reading import AnswerUnreadable, clean, fitting, parse_object, renamed
from services.agents.report import (
    MOST_EVIDENCE,
    NAME_BYTES,
    SUMMARY_BYTES,
    TEXT_BYTES,
    Cost,
    TokensGiven,
    first_fault,
)

FINDINGS_BYTES = 30_000
MOST_FINDINGS = 1000
PATH_BYTES = 1000
MOST_PATCHES = 20
LONGEST_PATCH_CHARACTERS = 4 << 20
CONFIDENCE_WORDS = {"low": 0.25, "medium": 0.5, "high": 0.9}
SEVERITY_WORDS = {"critical": "major", "high": "major", "medium": "minor", "low": "minor", "info": "minor"}
FIRST_VERSION_NAMES = {"issues_found": "findings", "probe_results": "probes", "review_notes": "summary"}
FIRST_VERSION_FINDING_NAMES = {"description": "message", "evidence_refs": "evidence"}
FIRST_VERSION_UNUSED = frozenset({"run_id", "phase_id", "auditor_attempts", "tokens_used", "probes"})


def _confidence(value: Any) -> Any:
    return CONFIDENCE_WORDS.get(value, value) if isinstance(value, str) else value


def _severity(value: Any) -> Any:
    return SEVERITY_WORDS.get(value, value) if isinstance(value, str) else value


def _patch(value: Any) -> Any:
    """Take a patch as a text, or as the first version's object around it."""
    return value["patch_content"] if isinstance(value, dict) and "patch_content" in value else value


class _FindingGiven(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    severity: Annotated[Literal["minor", "major"], BeforeValidator(_severity)] = "minor"
    category: str = ""
    path: str | None = None
    line: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    message: str = ""
    issue_key: str | None = None
    evidence: list[str] = []

    def value(self) -> Finding:
        return Finding(
            self.severity,
            clean(self.category, NAME_BYTES),
            None if self.path is None else clean(self.path, PATH_BYTES),
            self.line,
            clean(self.message, TEXT_BYTES),
            None if self.issue_key is None else clean(self.issue_key, NAME_BYTES),
            tuple(clean(text, NAME_BYTES) for text in self.evidence[:MOST_EVIDENCE]),
        )


class _VerdictGiven(BaseModel):
    """Unknown keys are refused here: a misspelt list of findings must not leave a bare approval behind."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    recommendation: Literal["approve", "revise", "escalate"]
    confidence: Annotated[float, Field(ge=0, le=1), BeforeValidator(_confidence)]
    findings: list[_FindingGiven] = []
    suggested_patches: Annotated[
        list[Annotated[str, Field(max_length=LONGEST_PATCH_CHARACTERS), BeforeValidator(_patch)]],
        Field(max_length=MOST_PATCHES),
    ] = []
    summary: str = ""
    tokens: TokensGiven | None = None
    cost_usd: Cost | None = None


def read_verdict(data: bytes) -> Verdict:
    """Read what an auditor printed. Raises AnswerUnreadable for anything but one whole, valid verdict."""
    top = renamed(parse_object(data), FIRST_VERSION_NAMES)
    known = {key: value for key, value in top.items() if key not in FIRST_VERSION_UNUSED}
    if isinstance(known.get("findings"), list):
        known["findings"] = _known_findings(known["findings"])
    try:
        given = _VerdictGiven.model_validate(known)
    except ValidationError as error:
        raise AnswerUnreadable(first_fault(error)) from error
    return _verdict(given)


def _known_findings(findings: list[Any]) -> list[Any]:
    if len(findings) > MOST_FINDINGS:
        raise AnswerUnreadable(f"{len(findings)} findings, where {MOST_FINDINGS} may be")
    return [_known_finding(finding) for finding in findings]


def _known_finding(finding: Any) -> Any:
    return renamed(finding, FIRST_VERSION_FINDING_NAMES) if isinstance(finding, dict) else finding


def _verdict(given: _VerdictGiven) -> Verdict:
    findings = tuple(finding.value() for finding in given.findings)
    # The grave ones first, so that what an event has no room for is the least of them.
    ordered = sorted(findings, key=lambda finding: finding.severity != "major")
    kept = fitting(ordered, FINDINGS_BYTES)
    left_out = len(findings) - len(kept)
    return Verdict(
        recommendation=Recommendation(given.recommendation),
        confidence=given.confidence,
        findings=kept,
        suggested_patches=tuple(patch for patch in given.suggested_patches if patch.strip()),
        summary=clean(given.summary, SUMMARY_BYTES),
        tokens=given.tokens.value() if given.tokens else None,
        cost_usd=given.cost_usd,
        notes=(f"{left_out} of {len(findings)} findings were left out",) if left_out else (),
    )
