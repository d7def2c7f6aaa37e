"""Serving one partition: take over, fold, and then step by step fold, decide, append."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from hashlib import sha256
from time import monotonic
from typing import Any

import structlog

from events.catalogue import Topic
from events.codec import UnreadableRecord
from events.decide.verdicts import Reason
from events.failpoints import failpoint
from events.history import PartitionState, fold
from events.log.port import (
    EventLog,
    HistoryCutOff,
    LogUnavailable,
    Missing,
    PartitionWriter,
    Place,
    Positions,
    Step,
    StoredRecord,
    Tail,
)
from events.log.telling import told
from services.supervisor.alarms import PartitionAlarms
from services.supervisor.judging import Judge, Judgement, Limits
from services.supervisor.reminders import deadline_record
from services.supervisor.snapshots import Snapshot, Snapshots
from services.supervisor.timer import LogClock, Timer

IDLE_SECONDS = 1.0
RECORDS_A_STEP = 200
BYTES_A_STEP = 2 * 1024 * 1024
SECONDS_A_STEP = 0.1
SNAPSHOT_EVERY_RECORDS = 5_000
DELETE_EVERY_SECONDS = 10.0
ANCHOR_WINDOW = 50
SNAPSHOT_AGAIN_SECONDS = 10.0
logger = structlog.get_logger(__name__)


class PartitionOwner:
    """One ownership of one partition, from its taking over until it is fenced, fails or is cancelled."""

    def __init__(
        self,
        log: EventLog,
        partition: int,
        instance: str,
        snapshots: Snapshots,
        limits: Limits,
        alarms: PartitionAlarms,
    ) -> None:
        self._log = log
        self._partition = partition
        self._instance = instance
        self._snapshots = snapshots
        self._alarms = alarms
        self._judge = Judge(partition, log.partition_count, limits)
        self._state = PartitionState()
        self._timer = Timer(limits.runs_at_once)
        self._clock = LogClock()
        self._reminders: set[int] = set()
        self._positions = Positions()
        self._passed = Positions()
        self._end = 0
        self._snapshot_end = 0
        self._deleted_at = monotonic()
        self._snapshot_failed_at = float("-inf")
        self._chores: dict[str, asyncio.Task[None]] = {}
        self.made_progress = False

    async def serve(self, served: Callable[[], None]) -> None:
        """Serve the partition, and say so once its history is folded.

        Raises Fenced or LogUnavailable, and the caller begins anew; HistoryUnreadable, and it does not.
        """
        writer = await self._log.take_over(self._partition, self._instance)
        tail = self._log.tail()
        try:
            failpoint("fenced")
            await self._catch_up(writer)
            self._follow(tail)
            served()
            while True:
                await self._round(writer, tail)
        except HistoryCutOff as error:
            raise self._standing_still(f"{Topic.EVENTS}, partition {self._partition}: {error}") from error
        finally:
            try:
                await self._end_chores()
            finally:
                await tail.close()
                await writer.close()

    def read_to(self) -> dict[Place, int]:
        """The next offset to be read of each submitted topic."""
        offsets = {Topic.COMMANDS: self._positions.commands, Topic.RESULTS: self._positions.results}
        return {Place(topic, self._partition): offset for topic, offset in offsets.items()}

    def _standing_still(self, message: str) -> "HistoryUnreadable":
        """The history cannot be read to its end: going on would decide on half the truth."""
        self._alarms.stand_still(message)
        return HistoryUnreadable(message)

    async def _catch_up(self, writer: PartitionWriter) -> None:
        """Fold the history up to where it ended when every earlier writer was fenced."""
        async for snapshot in self._snapshots.newest_first(self._partition):
            if await self._fits(snapshot, writer.end):
                self._state, self._end = snapshot.state, snapshot.offset
                break
        self._snapshot_end = self._end
        place = Place(Topic.EVENTS, self._partition)
        while self._end < writer.end:
            records = await self._log.read(place, self._end, writer.end)
            if not records:
                raise LogUnavailable(f"the history ends at {self._end} for readers, and at {writer.end} for us")
            self._fold(records)
        self._positions = writer.positions
        self._timer.load(self._state)
        self._alarms.load(self._state)

    async def _fits(self, snapshot: Snapshot, end: int) -> bool:
        """Whether the snapshot was folded from this very log."""
        if snapshot.offset > end:
            return False
        place = Place(Topic.EVENTS, self._partition)
        found = await self._log.read(place, snapshot.anchor_offset, snapshot.anchor_offset + 1)
        return bool(found) and sha256(found[0].value).digest() == snapshot.anchor_digest

    def _fold(self, records: Sequence[StoredRecord]) -> None:
        for record in records:
            try:
                self._state = fold(self._state, record.value, record.type_name)
            except UnreadableRecord as error:
                raise self._standing_still(f"history unreadable at {told(record)}: {error.message}") from error
            self._end = record.offset + 1
            self._clock.hear(record.recorded_at)

    def _follow(self, tail: Tail) -> None:
        tail.follow(Place(Topic.COMMANDS, self._partition), self._positions.commands)
        tail.follow(Place(Topic.RESULTS, self._partition), self._positions.results)

    async def _round(self, writer: PartitionWriter, tail: Tail) -> None:
        """Wait for records or a deadline, and take one step after another until nothing is left to read."""
        waiting = self._timer.seconds_to_next(self._clock.now())
        batches = await tail.batches(IDLE_SECONDS if waiting is None else min(IDLE_SECONDS, waiting))
        for missing in tail.take_missing():
            self._tell_missing(missing)
        records = deque(record for batch in batches.values() for record in batch)
        if not records:
            await writer.renew()
        while records:
            await self._step(writer, records)
        await self._submit_deadlines()
        self._tidy(writer)

    async def _step(self, writer: PartitionWriter, waiting: deque[StoredRecord]) -> None:
        """Judge records one after another on the state as it becomes, and write the outcome at once.

        Takes from those that wait as many as make a step that the log can take, whatever they lead to, and
        no more than a moment allows: nothing else runs meanwhile, the signs of life neither.
        """
        failpoint("batch-read")
        judgements: list[Judgement] = []
        state, positions = self._state, self._positions
        size_bytes, began = 0, monotonic()
        while waiting and len(judgements) < RECORDS_A_STEP and size_bytes < BYTES_A_STEP:
            record = waiting.popleft()
            judgement = self._judge.judge(state, record)
            self._listen(record, judgement)
            state, positions = judgement.state, _behind(positions, record)
            judgements.append(judgement)
            size_bytes += judgement.size_bytes
            if monotonic() - began > SECONDS_A_STEP:
                break
        await self._write(writer, _joined(judgements, positions))
        self._state, self._positions = state, positions
        touched = {key for judgement in judgements for key in judgement.touched}
        self._timer.update(state, touched)
        self._alarms.update(state, {project for project, _ in touched})
        self.made_progress = True

    async def _write(self, writer: PartitionWriter, step: Step) -> None:
        """What no step with events of ours has passed must stay for the next owner: forwards keep no
        positions, and those that rejections keep expire with them.
        """
        if step.is_empty:
            await asyncio.sleep(0)
            return
        failpoint("decided")
        self._end = await writer.append(step)
        failpoint("appended")
        if step.events:
            self._passed = step.positions

    def _listen(self, record: StoredRecord, judgement: Judgement) -> None:
        """Learn the log's time, and of jumps; from a deadline of ours that came too early, that we are ahead."""
        if ahead := self._clock.hear(record.recorded_at):
            logger.warning("the log's clock has jumped", partition=self._partition, seconds=ahead.total_seconds())
            self._timer.clock_jumped(ahead)
        if record.topic is Topic.COMMANDS and record.offset in self._reminders:
            self._reminders.discard(record.offset)
            refusal = judgement.rejection
            if refusal is not None and refusal.headers["reason"] == Reason.EARLY_DEADLINE.encode():
                self._timer.clock_corrected(self._clock.correct(record.recorded_at))

    def _tell_missing(self, missing: Missing) -> None:
        """Whoever deleted them, what was in them was never decided."""
        place = f"{missing.place.topic}, partition {missing.place.partition}"
        what = f"offset {missing.position} was to be read, and the first that is left is {missing.first}"
        self._alarms.missing(missing.place.topic, f"{place}: {what}: records were deleted before they were read")

    async def _submit_deadlines(self) -> None:
        now = self._clock.now()
        due = self._timer.due(now)
        if due:
            written = await self._log.submit(Topic.COMMANDS, [deadline_record(p, d, now) for p, d in due])
            self._reminders.update(offset for _, offset in written)

    def _tidy(self, writer: PartitionWriter) -> None:
        """Let go of what has been passed, and keep a snapshot now and then."""
        if monotonic() - self._deleted_at > DELETE_EVERY_SECONDS and self._passed != Positions():
            self._beside("delete", partial(self._delete, writer, self._passed))
        is_due = self._end - self._snapshot_end >= SNAPSHOT_EVERY_RECORDS
        if is_due and monotonic() - self._snapshot_failed_at > SNAPSHOT_AGAIN_SECONDS:
            self._beside("snapshot", self._keep_snapshot)

    def _beside(self, chore: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it beside the steps, one of a kind at a time: a server that does not answer must not hold these up.

        Raises what was not foreseen in the one before.
        """
        earlier = self._chores.get(chore)
        if earlier is not None and earlier.done():
            earlier.result()
        if earlier is None or earlier.done():
            self._chores[chore] = asyncio.create_task(work(), name=f"{chore}-{self._partition}")

    async def _end_chores(self) -> None:
        for task in self._chores.values():
            task.cancel()
        for error in await asyncio.gather(*self._chores.values(), return_exceptions=True):
            if isinstance(error, Exception):
                logger.error("beside the steps", partition=self._partition, exc_info=error)

    async def _delete(self, writer: PartitionWriter, passed: Positions) -> None:
        """What cannot be deleted now stays a while longer, and stops nobody."""
        try:
            await writer.delete_before(passed)
        except LogUnavailable as error:
            logger.warning("passed records not deleted", partition=self._partition, error=str(error))
        self._deleted_at = monotonic()

    async def _keep_snapshot(self) -> None:
        state, end = self._state, self._end
        place = Place(Topic.EVENTS, self._partition)
        try:
            last = await self._log.read(place, max(0, end - ANCHOR_WINDOW), end)
        except LogUnavailable as error:
            logger.warning("no snapshot made", partition=self._partition, error=str(error))
            self._snapshot_failed_at = monotonic()
            return
        if last:
            digest = sha256(last[-1].value).digest()
            await self._snapshots.keep(self._partition, Snapshot(end, last[-1].offset, digest, state))
            failpoint("snapshot-kept")
            self._snapshot_end = end


class HistoryUnreadable(Exception):
    """The history cannot be read on: a record of a newer version, or one that is not there any more."""


def _behind(positions: Positions, record: StoredRecord) -> Positions:
    if record.topic is Topic.COMMANDS:
        return Positions(record.offset + 1, positions.results)
    return Positions(positions.commands, record.offset + 1)


def _joined(judgements: Sequence[Judgement], positions: Positions) -> Step:
    return Step(
        events=[record for j in judgements for record in j.events],
        rejections=[j.rejection for j in judgements if j.rejection is not None],
        forwards=[j.forward for j in judgements if j.forward is not None],
        positions=positions,
    )
