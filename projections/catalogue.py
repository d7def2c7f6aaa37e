"""Every table that is kept of the history."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from events.catalogue import Topic
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


@dataclass(frozen=True, slots=True)
class Reader:
    """What has a checkpoint: its name and version, and the topics that it reads."""

    name: str
    version: int
    topics: frozenset[Topic]


RUN_FILES = Reader("run_files", 1, frozenset({Topic.EVENTS}))

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        **{p.name: Reader(p.name, p.version, p.topics) for p in PROJECTIONS},
        RUN_FILES.name: RUN_FILES,
    }
)
"""By name: every table, and the run files, which follow the tables."""


class UnknownProjection(Exception):
    """There is no projection of that name."""


def projection_named(name: str) -> Projection[Any]:
    """The projection of that name. Raises UnknownProjection."""
    for projection in PROJECTIONS:
        if projection.name == name:
            return projection
    raise UnknownProjection(f"{name!r}: there are {', '.join(READERS)}")
