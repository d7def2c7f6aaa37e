"""When the supervisor must wake: the earliest deadline of a partition, by the log's clock."""

import heapq
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from time import monotonic, time

from events.decide.deadlines import Deadline, deadlines, turn
from events.history import PartitionState

RESUBMIT_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 300.0
ENTRIES_TO_SPARE = 64
NOTHING = timedelta()
JUMP = timedelta(minutes=5)
"""Further ahead than this a record is only where the log's clock was set forward, or this machine stood still."""

RunKey = tuple[str, str]


class LogClock:
    """The log's clock as far as it is known here: the last time it told, and what has passed since.

    Deadlines hang on it and not on this machine's wall clock, which may jump. It begins with the wall clock:
    records that waited to be read tell a time that has long passed. The log's own clock may jump as well: that is
    noticed once a record has shown that what is known of it is right.
    """

    def __init__(self, seconds: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._told = datetime.fromtimestamp(time(), UTC)
        self._heard_at = seconds()
        self._is_sure = False

    def hear(self, recorded_at: datetime) -> timedelta:
        """A record just read was taken by the log at this time, or somewhat earlier.

        How far the log's clock has jumped ahead: by how much more it has gone on than has passed here.
        """
        ahead = recorded_at - self.now()
        has_jumped = self._is_sure and ahead > JUMP
        self._is_sure = self._is_sure or ahead > -JUMP
        if ahead > NOTHING:
            self._told, self._heard_at = recorded_at, self._seconds()
        return ahead if has_jumped else NOTHING

    def correct(self, recorded_at: datetime) -> timedelta:
        """The log says that it is this time now, however late we thought it was; how far that goes back."""
        back = self.now() - recorded_at
        self._told, self._heard_at, self._is_sure = recorded_at, self._seconds(), True
        return back

    def now(self) -> datetime:
        """The time on the log's clock."""
        return self._told + timedelta(seconds=self._seconds() - self._heard_at)


class Timer:
    """The deadlines of one partition. Only runs that a step touched are looked at again.

    What was submitted and had no effect comes again after a while, counted in `seconds`, this machine's own,
    and longer each time: a log whose clock stands still, or a fault of ours, must not make a flood.

    A deadline is the end of a duration. When the log's clock jumps ahead, nobody has had that time, and what
    stands is put off by as much.
    """

    def __init__(self, runs_at_once: int | None = None, seconds: Callable[[], float] = monotonic) -> None:
        self._runs_at_once = runs_at_once
        self._seconds = seconds
        self._standing: dict[RunKey, tuple[Deadline, ...]] = {}
        self._put_off: dict[tuple[RunKey, Deadline], timedelta] = {}
        self._wake: dict[RunKey, datetime] = {}
        self._held: dict[RunKey, tuple[float, float]] = {}
        self._heap: list[tuple[datetime, RunKey]] = []

    @property
    def entries(self) -> int:
        """How much is kept, overtaken entries included."""
        return len(self._heap)

    def load(self, state: PartitionState) -> None:
        """Learn every deadline that stands in a state."""
        self.update(state, [(p, r) for p, project in state.projects.items() for r in project.runs])

    def update(self, state: PartitionState, touched: Iterable[RunKey]) -> None:
        """Learn the deadlines of runs that have changed, and whose turn it is in their projects now.

        Those of a quarantined run would all be refused.
        """
        changed = set(touched)
        turns = {(p, t.run_id): t for p in {p for p, _ in changed} if (t := self._turn(state, p))}
        for key in changed | turns.keys():
            run = state.project(key[0]).runs.get(key[1])
            standing = tuple(deadlines(run)) if run is not None and key not in state.quarantined else ()
            standing += (turns[key],) if key in turns else ()
            if self._standing.get(key, ()) != standing:
                self._learn(key, standing)

    def _turn(self, state: PartitionState, project_id: str) -> Deadline | None:
        return turn(state.project(project_id), self._runs_at_once)

    def clock_corrected(self, back: timedelta = NOTHING) -> None:
        """It is so much earlier than we thought: what was put off by the wrong time comes when it is due."""
        self._put_off = {which: left for which, by in self._put_off.items() if (left := by - back) > NOTHING}
        self._schedule_all()

    def clock_jumped(self, ahead: timedelta) -> None:
        """The log's clock has jumped: what stands keeps the time that it had left."""
        standing = [(key, deadline) for key, found in self._standing.items() for deadline in found]
        self._put_off = {which: self._put_off.get(which, NOTHING) + ahead for which in standing}
        self._schedule_all()

    def _schedule_all(self) -> None:
        for key, standing in self._standing.items():
            self._schedule(key, min(self._due_at(key, d) for d in standing))

    def _due_at(self, key: RunKey, deadline: Deadline) -> datetime:
        return deadline.due_at + self._put_off.get((key, deadline), NOTHING)

    def seconds_to_next(self, now: datetime) -> float | None:
        """How long until a deadline is due; None when none stands."""
        earliest = self._earliest()
        return None if earliest is None else max(0.0, (earliest[0] - now).total_seconds())

    def due(self, now: datetime) -> list[tuple[str, Deadline]]:
        """Deadlines that have come, with their projects, the earliest first."""
        found: list[tuple[str, Deadline]] = []
        while (earliest := self._earliest()) is not None and earliest[0] <= now:
            key = heapq.heappop(self._heap)[1]
            standing = self._standing[key]
            if (left := self._held_for(key)) <= 0:
                found += [(key[0], d) for d in standing if self._due_at(key, d) <= now]
                left = self._hold(key)
            again = now + timedelta(seconds=left)
            self._schedule(key, min(max(self._due_at(key, d), again) for d in standing))
        return found

    def _learn(self, key: RunKey, standing: tuple[Deadline, ...]) -> None:
        self._held.pop(key, None)
        for gone in set(self._standing.get(key, ())).difference(standing):
            self._put_off.pop((key, gone), None)
        if standing:
            self._standing[key] = standing
            self._schedule(key, min(self._due_at(key, d) for d in standing))
        else:
            self._standing.pop(key, None)
            self._wake.pop(key, None)

    def _held_for(self, key: RunKey) -> float:
        return self._held[key][0] - self._seconds() if key in self._held else 0.0

    def _hold(self, key: RunKey) -> float:
        """Keep a run's deadlines from being submitted again at once; for how long."""
        last = self._held[key][1] if key in self._held else RESUBMIT_SECONDS / 2
        pause = min(2 * last, LONGEST_PAUSE_SECONDS)
        self._held[key] = (self._seconds() + pause, pause)
        return pause

    def _schedule(self, key: RunKey, at: datetime) -> None:
        if len(self._heap) > 2 * len(self._wake) + ENTRIES_TO_SPARE:
            self._heap = [(wake, other) for other, wake in self._wake.items()]
            heapq.heapify(self._heap)
        self._wake[key] = at
        heapq.heappush(self._heap, (at, key))

    def _earliest(self) -> tuple[datetime, RunKey] | None:
        """The first entry of the heap that still holds; those overtaken by an update are let go."""
        while self._heap:
            at, key = self._heap[0]
            if self._wake.get(key) == at:
                return at, key
            heapq.heappop(self._heap)
        return None
