"""A tape of choices, and workers that answer requests as it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from events.configuration import Configuration
from events.families.apply import ApplyRequested, PatchAccepted, PatchRejected
from events.families.audit import AuditCompleted, AuditFailed, AuditRequested, Recommendation
from events.families.base import ArtifactRef, Concern, Tokens, Usage
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.failure import FailureClass
from events.families.integrate import IntegrationFailed, IntegrationRequested, SnapshotCreated
from events.families.run import PrepareFailed, PrepareRequested, RunPrepared
from events.families.verify import CheckOutcome, CheckResult, ChecksFailed, ChecksPassed, ChecksRequested
from support.scenario import BASE

T = TypeVar("T")

FAILURES = (
    *(FailureClass.EXIT_CODE, FailureClass.REVOKED, FailureClass.TIMEOUT, FailureClass.NO_CHANGE) * 3,
    FailureClass.BAD_ANSWER,
    FailureClass.MISSING_AGENT,
    FailureClass.INTERNAL,
)
REFUSALS = (*(FailureClass.VIOLATIONS, FailureClass.CONFLICT, FailureClass.TOO_LARGE) * 3, FailureClass.INTERNAL)
USAGES = (
    Usage(),
    Usage(tokens=Tokens()),
    Usage(tokens=Tokens(input=20, cached_input=10, output=20, reasoning=20)),
    Usage(tokens=Tokens(output=200), cost_usd=0.6),
)
CONCERNS = ((), (), (), (Concern(kind="tests_removed"),))


def digest(number: int) -> ArtifactRef:
    return ArtifactRef(digest=f"sha256:{number:064x}", size_bytes=number)


class Tape:
    """Choices, one byte each; at its end it always chooses the first."""

    def __init__(self, script: bytes) -> None:
        self._script = script
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at >= len(self._script)

    def below(self, limit: int) -> int:
        if self.ended:
            return 0
        self._at += 1
        return self._script[self._at - 1] % limit

    def of(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]


@dataclass(frozen=True)
class Workers:
    """Answers to requests; `number` makes commits and patches of each answer its own."""

    tape: Tape

    def success(self, request_id: str, asked: Any, number: int) -> Any:
        common = {"request_id": request_id}
        if isinstance(asked, PrepareRequested):
            return RunPrepared(request_id=request_id, base_commit=BASE, configuration=Configuration())
        common |= {"phase_id": asked.phase_id, "attempt": asked.attempt}
        match asked:
            case BuildRequested():
                doubt = self.tape.below(8) == 7
                usage = self.tape.of(USAGES)
                return BuildSucceeded(patch=digest(number), usage=usage, needs_review=doubt, **common)
            case AuditRequested():
                return self._verdict(common, number)
            case ApplyRequested():
                concerns = self.tape.of(CONCERNS)
                made = {"candidate": f"{number:040x}", "tree": f"{number + 10_000:040x}"}
                return PatchAccepted(parent=asked.parent, concerns=concerns, **made, **common)
            case ChecksRequested():
                green = tuple(CheckResult(name=c.name, outcome=CheckOutcome.PASSED) for c in asked.checks)
                return ChecksPassed(candidate=asked.candidate, tree=asked.tree, checks=green, **common)
            case IntegrationRequested():
                landed = {"tag": asked.tag, "unchecked": asked.unchecked}
                return SnapshotCreated(commit=asked.candidate, **landed, **common)
            case _:
                raise AssertionError(asked)

    def _verdict(self, common: dict[str, Any], number: int) -> AuditCompleted:
        approve, revise = Recommendation.APPROVE, Recommendation.REVISE
        word = self.tape.of((approve, approve, approve, approve, revise, revise, Recommendation.ESCALATE))
        patches = (digest(number),) if word is revise and self.tape.below(2) else ()
        usage = self.tape.of(USAGES)
        return AuditCompleted(
            recommendation=word, confidence=0.5, suggested_patches=patches, usage=usage, **common
        )

    def failure(self, request_id: str, asked: Any, number: int) -> Any:
        said = {"request_id": request_id, "reason": "it failed", "failure": self.tape.of(FAILURES)}
        if isinstance(asked, PrepareRequested):
            return PrepareFailed(**said)
        said |= {"phase_id": asked.phase_id, "attempt": asked.attempt}
        match asked:
            case BuildRequested():
                return BuildFailed(usage=self.tape.of(USAGES), **said)
            case AuditRequested():
                return AuditFailed(usage=self.tape.of(USAGES), **said)
            case ApplyRequested():
                return PatchRejected(**{**said, "failure": self.tape.of(REFUSALS)})
            case ChecksRequested():
                red = self.tape.of((FailureClass.RED_CHECKS, FailureClass.TIMEOUT))
                return ChecksFailed(candidate=asked.candidate, **{**said, "failure": red})
            case IntegrationRequested():
                how = (FailureClass.MOVED, FailureClass.MOVED, FailureClass.TIMEOUT, FailureClass.DIVERGED)
                head = self.tape.of((f"{number + 50_000:040x}", None))
                return IntegrationFailed(head=head, **{**said, "failure": self.tape.of(how)})
            case _:
                raise AssertionError(asked)
