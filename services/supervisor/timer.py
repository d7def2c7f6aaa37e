"""When the supervisor must wake: the earliest deadline of a partition, by the log's clock."""

import heapq
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from time import monotonic, time

from events.decide.deadlines import Deadline, deadlines
from events.history import PartitionState

RESUBMIT_SECONDS = 2.0


class LogClock:
    """The log's clock as far as it is known here: the last time it told, and what has passed since.

    Deadlines hang on it and not on this machine's wall clock, which may jump; the wall clock only serves
    until the log has told a time once.
    """

    def __init__(self) -> None:
        self._told: datetime | None = None
        self._heard_at = 0.0

    def hear(self, recorded_at: datetime) -> None:
        """A record just read was taken by the log at this time, or somewhat earlier."""
        if self._told is None or recorded_at > self.now():
            self._told, self._heard_at = recorded_at, monotonic()

    def correct(self, recorded_at: datetime) -> None:
        """The log says that it is this time now, however late we thought it was."""
        self._told, self._heard_at = recorded_at, monotonic()

    def now(self) -> datetime:
        """The time on the log's clock."""
        if self._told is None:
            return datetime.fromtimestamp(time(), UTC)
        return self._told + timedelta(seconds=monotonic() - self._heard_at)


class Timer:
    """The deadlines of one partition. Only runs that a step touched are looked at again."""

    def __init__(self) -> None:
        self._standing: dict[tuple[str, str], tuple[Deadline, ...]] = {}
        self._wake: dict[tuple[str, str], datetime] = {}
        self._heap: list[tuple[datetime, tuple[str, str]]] = []

    def load(self, state: PartitionState) -> None:
        """Learn every deadline that stands in a state."""
        self.update(state, [(p, r) for p, project in state.projects.items() for r in project.runs])

    def update(self, state: PartitionState, touched: Iterable[tuple[str, str]]) -> None:
        """Learn the deadlines of runs that have changed."""
        for key in touched:
            run = state.project(key[0]).runs.get(key[1])
            standing = tuple(deadlines(run)) if run is not None else ()
            if not standing:
                self._standing.pop(key, None)
                self._wake.pop(key, None)
            elif self._standing.get(key) != standing:
                self._standing[key] = standing
                self._schedule(key, min(d.due_at for d in standing))

    def _schedule(self, key: tuple[str, str], at: datetime) -> None:
        self._wake[key] = at
        heapq.heappush(self._heap, (at, key))

    def _earliest(self) -> tuple[datetime, tuple[str, str]] | None:
        """The first entry of the heap that still holds; those overtaken by an update are let go."""
        while self._heap:
            at, key = self._heap[0]
            if self._wake.get(key) == at:
                return at, key
            heapq.heappop(self._heap)
        return None

    def seconds_to_next(self, now: datetime) -> float | None:
        """How long until a deadline is due; None when none stands."""
        earliest = self._earliest()
        return None if earliest is None else max(0.0, (earliest[0] - now).total_seconds())

    def due(self, now: datetime) -> list[tuple[str, Deadline]]:
        """Deadlines that have come, with their projects; one without effect comes again after a while."""
        found: list[tuple[str, Deadline]] = []
        while (earliest := self._earliest()) is not None and earliest[0] <= now:
            key = heapq.heappop(self._heap)[1]
            standing = self._standing[key]
            found += [(key[0], d) for d in standing if d.due_at <= now]
            again = now + timedelta(seconds=RESUBMIT_SECONDS)
            self._schedule(key, min(max(d.due_at, again) for d in standing))
        return found
