"""What the next attempt is told, kept small enough for an event."""

from collections.abc import Sequence

from events.families.base import Feedback
from events.families.sizes import clipped, first, last, size_bytes

SUMMARY_LIMIT_BYTES = 6 * 1024
DETAILS_LIMIT_BYTES = 12 * 1024
"""Findings, violations and checks of one failure; what does not fit is left out, its event has it whole."""
FEEDBACK_LIMIT_BYTES = 40 * 1024
"""All feedback of a phase; the oldest is left out first."""


def told(earlier: Sequence[Feedback], latest: Feedback) -> tuple[Feedback, ...]:
    """The feedback of a phase with one more, within the limits; the latest is always among it."""
    return last((*earlier, _shortened(latest)), FEEDBACK_LIMIT_BYTES)


def _shortened(feedback: Feedback) -> Feedback:
    findings = first(feedback.findings, DETAILS_LIMIT_BYTES)
    left = DETAILS_LIMIT_BYTES - size_bytes(findings)
    violations = first(feedback.violations, left)
    left -= size_bytes(violations)
    return feedback.model_copy(
        update={
            "summary": clipped(feedback.summary, SUMMARY_LIMIT_BYTES),
            "findings": findings,
            "violations": violations,
            "checks": first(feedback.checks, left),
        }
    )
