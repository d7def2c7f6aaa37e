"""Every table that is kept of the history."""

from typing import Any

from projections.answers import ANSWERS
from projections.attempts import ATTEMPTS
from projections.metrics import METRICS
from projections.phases import PHASES
from projections.projection import Projection
from projections.rejections import REJECTIONS
from projections.runs import RUNS
from projections.tiers import TIERS
from projections.timeline import TIMELINE

PROJECTIONS: tuple[Projection[Any], ...] = (
    RUNS,
    TIERS,
    PHASES,
    ATTEMPTS,
    TIMELINE,
    METRICS,
    ANSWERS,
    REJECTIONS,
)


class UnknownProjection(Exception):
    """There is no projection of that name."""


def projection_named(name: str) -> Projection[Any]:
    """The projection of that name. Raises UnknownProjection."""
    for projection in PROJECTIONS:
        if projection.name == name:
            return projection
    raise UnknownProjection(f"{name!r}: there are {', '.join(p.name for p in PROJECTIONS)}")
