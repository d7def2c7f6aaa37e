"""The runner: follows the history, claims what is open, performs several at a time, drains when told to stop."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

import structlog

from events.codec import UnreadableRecord
from events.log.port import EventLog, LogUnavailable, Membership
from services.retrying import Backoff
from services.runner.following import Followed, Following
from services.runner.job import Job
from services.runner.open_requests import OpenWork
from services.runner.output import LiveOutput
from services.runner.results import RememberedResults, ResultStore
from services.runner.worker import Worker
from services.status import ServiceStatus

POLL_SECONDS = 0.5
COMMIT_SECONDS = 5.0
LIVING_SECONDS = 2.0
RETRY_SECONDS = 5.0
logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """`capacity` pieces of work at once; `grace_seconds` for those that run when the service is stopped."""

    capacity: int = 4
    grace_seconds: float = 20.0


class Runner:
    """Runs one worker. Work belongs to who claimed it, not to who owns its partition."""

    def __init__(
        self,
        log: EventLog,
        worker: Worker,
        store: ResultStore,
        settings: RunnerSettings,
        status: ServiceStatus,
    ) -> None:
        self._log = log
        self._worker = worker
        self._settings = settings
        self._status = status
        self._results = RememberedResults(store, worker.traits.name) if worker.traits.keeps_results else None
        self._output = LiveOutput(log, worker.traits.name)
        self._jobs: dict[str, tuple[int, Job, asyncio.Task[None]]] = {}
        self._not_before: dict[str, float] = {}
        self._living: frozenset[str] = frozenset()
        self._living_at = float("-inf")
        self._committed_at = monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then take no more, let running work end within the grace, and leave."""
        showing = asyncio.create_task(self._output.run())
        backoff = Backoff()
        try:
            while not stop.is_set():
                try:
                    await self._as_member(stop)
                except LogUnavailable as error:
                    self._status.unavailable(str(error))
                    await backoff.pause(stop)
        finally:
            await self._kill_all()
            showing.cancel()

    async def _as_member(self, stop: asyncio.Event) -> None:
        """One membership: a member that was expelled kills its own work and joins anew."""
        membership = await self._log.join(self._worker.traits.name)
        backoff = Backoff()
        try:
            while not stop.is_set() and not await self._expelled(membership):
                try:
                    await self._follow(membership, stop)
                except LogUnavailable as error:
                    self._status.unavailable(str(error))
                    await backoff.pause(stop)
                except UnreadableRecord as error:
                    await self._stand_still(error, stop)
        finally:
            await self._kill_all()
            await membership.leave()

    async def _expelled(self, membership: Membership) -> bool:
        try:
            return membership.instance not in await membership.living()
        except LogUnavailable:
            return False  # nobody can have replaced us while the log is away

    async def _stand_still(self, error: UnreadableRecord, stop: asyncio.Event) -> None:
        """The history holds what this version cannot read: alive, not ready, and saying why."""
        self._status.alarm("history", error.message)
        self._status.unavailable(error.message)
        logger.error("history unreadable", error=error.message)
        await stop.wait()

    async def _follow(self, membership: Membership, stop: asyncio.Event) -> None:
        following = Following(self._log, membership, self._worker.traits)
        give_up_at: float | None = None
        try:
            while True:
                await following.adjust(membership.partitions, self._busy())
                await following.read(POLL_SECONDS)
                self._reconcile(following)
                if not await self._check_living(membership):
                    return
                if stop.is_set():
                    give_up_at = give_up_at or monotonic() + self._settings.grace_seconds
                    if not self._jobs or monotonic() > give_up_at:
                        return
                else:
                    self._start_jobs(following, membership)
                await self._commit(following, membership)
                self._report(following)
        finally:
            await following.close()

    def _busy(self) -> frozenset[int]:
        return frozenset(partition for partition, _, _ in self._jobs.values())

    def _report(self, following: Following) -> None:
        followed = following.followed.values()
        if all(f.caught_up for f in followed):
            waiting = sum(len(f.requests.standing()) for f in followed) - len(self._jobs)
            self._status.ready(running=len(self._jobs), waiting=max(0, waiting), partitions=len(followed))

    def _reconcile(self, following: Following) -> None:
        """Tell running work what the history says of its request."""
        for request_id, (partition, job, task) in list(self._jobs.items()):
            if task.done():
                self._finish(request_id, task)
                continue
            followed = following.followed.get(partition)
            if followed is not None and followed.caught_up:
                _tell(job, followed.requests.get(request_id))

    def _finish(self, request_id: str, task: asyncio.Task[None]) -> None:
        """A job that ended without its request being closed comes again after a while, not at once."""
        del self._jobs[request_id]
        self._not_before[request_id] = monotonic() + RETRY_SECONDS
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("job failed", request=request_id, exc_info=error)

    def _start_jobs(self, following: Following, membership: Membership) -> None:
        free = self._settings.capacity - len(self._jobs)
        if free <= 0:
            return
        own = [f for p, f in following.followed.items() if p in membership.partitions and f.caught_up]
        waiting = sorted(self._startable(own, membership.instance), key=lambda pair: pair[1].event.recorded_at)
        for partition, work in waiting[:free]:
            self._start(partition, work, membership.instance)

    def _startable(self, own: list[Followed], instance: str) -> Iterator[tuple[int, OpenWork]]:
        """Open requests that nobody works on: unclaimed, or claimed by an instance that is gone."""
        self._not_before = {id_: at for id_, at in self._not_before.items() if at > monotonic()}
        for followed in own:
            for work in followed.requests.standing():
                if work.id in self._jobs or work.id in self._not_before:
                    continue
                if work.claim is None or work.claim.instance == instance or self._gone(work.claim.instance):
                    yield followed.partition, work

    def _gone(self, instance: str) -> bool:
        return bool(self._living) and instance not in self._living

    async def _check_living(self, membership: Membership) -> bool:
        """Look now and then who lives; whether we still do."""
        if monotonic() - self._living_at >= LIVING_SECONDS:
            self._living = await membership.living()
            self._living_at = monotonic()
        return membership.instance in self._living or not self._living

    def _start(self, partition: int, work: OpenWork, instance: str) -> None:
        phase_id = str(getattr(work.event.data, "phase_id", ""))
        say = self._output.channel(work.project, work.event.run_id, phase_id, work.id)
        job = Job(self._log, self._worker, work, instance, self._results, say)
        task = asyncio.create_task(job.run(), name=f"{self._worker.traits.name}-{work.id}")
        self._jobs[work.id] = (partition, job, task)

    async def _commit(self, following: Following, membership: Membership) -> None:
        """Lazily: it only spares the next owner some reading."""
        if monotonic() - self._committed_at < COMMIT_SECONDS:
            return
        self._committed_at = monotonic()
        for partition, followed in following.followed.items():
            if partition in membership.partitions and followed.caught_up:
                await membership.commit(partition, followed.committable)

    async def _kill_all(self) -> None:
        """End running work without an answer: its request stays open for whoever comes next."""
        tasks = [task for _, _, task in self._jobs.values()]
        self._jobs.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _tell(job: Job, work: OpenWork | None) -> None:
    if work is None:
        job.signals.closed.set()
    elif work.revoked is not None:
        job.signals.revoked.set()
    elif work.claim is not None and work.claim.id == job.claim_id:
        job.signals.claimed.set()
    elif work.claim is not None and work.claim.id != (job.work.claim.id if job.work.claim else None):
        job.signals.lost.set()
