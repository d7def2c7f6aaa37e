"""How the projections stand: where, how far behind, and what stands still."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from events.catalogue import Topic
from events.log.port import EventLog
from projections.catalogue import READERS
from projections.checkpoints import RunKey, beyond, quarantined
from projections.database import Connection


class Standing(StrEnum):
    """`ahead` means that the checkpoint is beyond the end of the log, which must be another one."""

    FOLLOWING = "following"
    BEHIND = "behind"
    STOPPED = "stopped"
    AHEAD = "ahead"
    OUTDATED = "outdated"


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """One projection in one partition of one topic. `lag` counts offsets, which may have gaps."""

    projection: str
    version: int
    topic: Topic
    partition: int
    next_offset: int
    end: int
    standing: Standing
    error: str | None

    @property
    def lag(self) -> int:
        """How many offsets it has yet to read."""
        return max(0, self.end - self.next_offset)


@dataclass(frozen=True, slots=True)
class Status:
    """All projections, and the runs whose history forked."""

    projections: Sequence[ProjectionStatus]
    quarantined: Mapping[RunKey, str]

    @property
    def trouble(self) -> str | None:
        """What stands still, where and why: once for all projections that the same record stops. None where
        nothing does; whoever is behind goes on.
        """
        reasons: dict[str, list[str]] = {}
        for one in self.projections:
            if one.standing in (Standing.STOPPED, Standing.AHEAD):
                place = f"in {one.topic}/{one.partition} at offset {one.next_offset}: {one.error}"
                reasons.setdefault(place, []).append(one.projection)
        still = [
            f"{', '.join(names)} {'stands' if len(names) == 1 else 'stand'} still {place}"
            for place, names in reasons.items()
        ]
        return "; ".join(still) or None


_ALL = """
SELECT projection, version, topic, partition, next_offset, stopped_at, error FROM projection_checkpoints
ORDER BY projection, version, topic, partition
"""


async def read_status(connection: Connection, log: EventLog) -> Status:
    """How every projection stands. Raises LogUnavailable."""
    rows = await connection.fetch(_ALL)
    # Looked up afterwards: what is folded between the two would seem to be beyond the end.
    ends = {topic: await log.ends(topic) for topic in (Topic.EVENTS, Topic.REJECTIONS)}
    found = []
    for row in rows:
        topic = Topic(row["topic"])
        end = ends[topic].get(row["partition"], 0)
        standing = _standing(row["projection"], row["version"], row["next_offset"], end, row["stopped_at"])
        found.append(
            ProjectionStatus(
                projection=row["projection"],
                version=row["version"],
                topic=topic,
                partition=row["partition"],
                next_offset=row["next_offset"],
                end=end,
                standing=standing,
                error=beyond(end) if standing is Standing.AHEAD else row["error"],
            )
        )
    missing = _never_begun({(one.projection, one.version, one.topic, one.partition) for one in found}, ends)
    return Status([*found, *missing], await quarantined(connection))


def _standing(name: str, version: int, next_offset: int, end: int, stopped_at: int | None) -> Standing:
    reader = READERS.get(name)
    if reader is None or reader.version != version:
        return Standing.OUTDATED
    if next_offset > end:
        return Standing.AHEAD
    if stopped_at is not None:
        return Standing.STOPPED
    return Standing.BEHIND if next_offset < end else Standing.FOLLOWING


def _never_begun(
    known: set[tuple[str, int, Topic, int]], ends: Mapping[Topic, Mapping[int, int]]
) -> list[ProjectionStatus]:
    """What nobody has read yet, although there are records."""
    return [
        ProjectionStatus(name, reader.version, topic, partition, 0, end, Standing.BEHIND, None)
        for name, reader in READERS.items()
        for topic in reader.topics
        for partition, end in ends[topic].items()
        if end > 0 and (name, reader.version, topic, partition) not in known
    ]
