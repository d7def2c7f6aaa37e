"""The supervisor's shell: owns partitions as its group gives them, and serves each in a task of its own."""

import asyncio
from collections.abc import Mapping
from functools import partial

import structlog

from events.log.port import EventLog, Fenced, LogUnavailable, Membership, Place
from services.joining import joined
from services.retrying import Backoff
from services.status import ServiceStatus
from services.supervisor.alarms import PartitionAlarms
from services.supervisor.judging import Limits
from services.supervisor.partition import HistoryUnreadable, PartitionOwner
from services.supervisor.snapshots import Snapshots

GROUP = "supervisor"
logger = structlog.get_logger(__name__)


class Supervisor:
    """Serves the partitions that belong to this instance, until it is stopped."""

    def __init__(self, log: EventLog, snapshots: Snapshots, limits: Limits, status: ServiceStatus) -> None:
        self._log = log
        self._snapshots = snapshots
        self._limits = limits
        self._status = status
        self._owners: dict[int, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._troubles: dict[int, str] = {}
        self._alarms: dict[int, PartitionAlarms] = {}
        self._serving: dict[int, PartitionOwner] = {}

    def read_to(self) -> Mapping[Place, int]:
        """Where what is served has been read to; what is only being taken over is said by itself."""
        return {place: offset for owner in self._serving.values() for place, offset in owner.read_to().items()}

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then leave. A step under way is written whole or not at all."""
        backoff = Backoff()
        while not stop.is_set():
            try:
                await self._serve(stop)
            except LogUnavailable as error:
                self._status.unavailable(str(error))
                await backoff.pause(stop)

    async def _serve(self, stop: asyncio.Event) -> None:
        membership = await joined(self._log, GROUP, stop)
        if membership is None:
            return
        try:
            await self._share(membership, stop)
        finally:
            await self._release()
            await membership.leave()

    async def _share(self, membership: Membership, stop: asyncio.Event) -> None:
        """Serve what is ours, whatever that is at the moment."""
        known: frozenset[int] = frozenset()
        stopping = asyncio.ensure_future(stop.wait())
        changed = asyncio.ensure_future(membership.changed(known))
        try:
            while not stop.is_set():
                self._adjust(known, membership.instance)
                self._report()
                await asyncio.wait({changed, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if changed.done():
                    known = changed.result()
                    changed = asyncio.ensure_future(membership.changed(known))
        finally:
            stopping.cancel()
            changed.cancel()
            await asyncio.wait({stopping, changed})

    def _adjust(self, partitions: frozenset[int], instance: str) -> None:
        """Start serving what is newly ours, stop serving what is ours no more."""
        for partition in set(self._owners) - partitions:
            self._give_up(partition)
        for partition in partitions - set(self._owners):
            self._troubles[partition] = f"partition {partition} is being taken over"
            self._owners[partition] = asyncio.create_task(
                self._own(partition, instance), name=f"supervisor-{partition}"
            )

    def _give_up(self, partition: int) -> None:
        logger.info("partition given up", partition=partition)
        self._troubles.pop(partition, None)
        task = self._owners.pop(partition)
        task.cancel()
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        task.add_done_callback(lambda _: self._forget(partition))

    def _forget(self, partition: int) -> None:
        """Whoever serves the partition now raises its alarms; that may be this instance again."""
        if partition not in self._owners:
            self._status.clear(f"supervisor-{partition}")
            self._alarms.pop(partition, PartitionAlarms(self._status, partition)).withdraw()

    async def _release(self) -> None:
        for partition in list(self._owners):
            self._give_up(partition)
        if self._leaving:
            await asyncio.wait(self._leaving)

    def _report(self) -> None:
        """Ready once every partition of ours is served."""
        trouble = next(iter(self._troubles.values()), None)
        if trouble is None:
            self._status.ready(partitions=len(self._owners))
        else:
            self._status.unavailable(trouble)

    def _served(self, partition: int, owner: PartitionOwner) -> None:
        self._serving[partition] = owner
        self._troubles.pop(partition, None)
        self._status.clear(f"supervisor-{partition}")
        self._report()

    def _troubled(self, partition: int, trouble: str) -> None:
        if self._owners.get(partition) is asyncio.current_task():
            self._troubles[partition] = f"partition {partition}: {trouble}"
            self._report()

    async def _own(self, partition: int, instance: str) -> None:
        """Take the partition over again and again, for as long as it is ours.

        Being fenced means that somebody else serves it; if the group still gives it to us, that was a
        moment's overlap, and taking over again settles it. A failure while it is given up can take the place
        of the cancellation, so whether it is ours is looked up, not concluded.
        """
        backoff = Backoff()
        alarms = self._alarms.setdefault(partition, PartitionAlarms(self._status, partition))
        while self._owners.get(partition) is asyncio.current_task():
            owner = PartitionOwner(self._log, partition, instance, self._snapshots, self._limits, alarms)
            try:
                await owner.serve(partial(self._served, partition, owner))
            except Fenced as error:
                alarms.withdraw()
                logger.info("fenced", partition=partition)
                self._troubled(partition, str(error))
            except LogUnavailable as error:
                logger.warning("partition lost its log", partition=partition, error=str(error))
                self._troubled(partition, str(error))
            except HistoryUnreadable as error:
                self._troubled(partition, f"stands still: {error}")
                return  # the alarm stands; an upgraded service folds on from there
            except Exception as error:
                # A fault of ours: it must not end in silence, and it may be one that passes.
                logger.exception("partition failed", partition=partition)
                self._status.alarm(f"supervisor-{partition}", f"{type(error).__name__}: {error}")
                self._troubled(partition, f"{type(error).__name__}: {error}")
            finally:
                if self._serving.get(partition) is owner:
                    del self._serving[partition]
            if owner.made_progress:
                backoff = Backoff()
            await backoff.pause()
