"""What the next attempt is told, kept small enough for an event."""

from collections.abc import Sequence
from typing import TypeVar

from events.families.base import Feedback, Value

DETAILS_LIMIT_BYTES = 12 * 1024
"""Findings, violations and checks of one failure; what does not fit is left out, its event has it whole."""
FEEDBACK_LIMIT_BYTES = 40 * 1024
"""All feedback of a phase; the oldest is left out first."""

ValueT = TypeVar("ValueT", bound=Value)


def told(earlier: Sequence[Feedback], latest: Feedback) -> tuple[Feedback, ...]:
    """The feedback of a phase with one more, within the limits; the latest is always among it."""
    kept = [_shortened(latest)]
    left = FEEDBACK_LIMIT_BYTES - _size_bytes(kept[0])
    for feedback in reversed(earlier):
        left -= _size_bytes(feedback)
        if left < 0:
            break
        kept.append(feedback)
    return tuple(reversed(kept))


def _shortened(feedback: Feedback) -> Feedback:
    if _size_bytes(feedback) <= DETAILS_LIMIT_BYTES:
        return feedback
    findings, left = _first(feedback.findings, DETAILS_LIMIT_BYTES)
    violations, left = _first(feedback.violations, left)
    checks, _ = _first(feedback.checks, left)
    return feedback.model_copy(update={"findings": findings, "violations": violations, "checks": checks})


def _first(values: Sequence[ValueT], limit_bytes: int) -> tuple[tuple[ValueT, ...], int]:
    """As many values from the front as fit, and what is left of the limit."""
    kept = []
    for value in values:
        size_bytes = _size_bytes(value)
        if size_bytes > limit_bytes:
            break
        limit_bytes -= size_bytes
        kept.append(value)
    return tuple(kept), limit_bytes


def _size_bytes(value: Value) -> int:
    return len(value.__pydantic_serializer__.to_json(value))
