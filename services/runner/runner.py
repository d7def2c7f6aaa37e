"""The runner: follows the history, claims what is open, performs several at a time, drains when told to stop."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic

import structlog

from events.log.port import EventLog, LogUnavailable, Membership, Place
from services.awaiting import first_of
from services.joining import joined
from services.retrying import Backoff
from services.room import EVERYWHERE, Room
from services.runner.abreast import AWAY_SECONDS, Abreast
from services.runner.chains import RunKey
from services.runner.following import Following
from services.runner.job import Job
from services.runner.living import Living
from services.runner.open_requests import OpenWork
from services.runner.output import LiveOutput
from services.runner.pauses import Pauses
from services.runner.results import RememberedResults, ResultStore
from services.runner.signals import Signal
from services.runner.worker import Worker
from services.status import ServiceStatus

POLL_SECONDS = 0.5
COMMIT_SECONDS = 5.0
LIVING_SECONDS = 2.0
LOOKS_A_SESSION = 4
"""Where sessions are short, so often it is asked who lives: whoever is gone is replaced that much later."""
RETRY_SECONDS = 5.0
WENT_WELL_SECONDS = 10.0
"""After so long what went wrong before is no reason to wait long again."""
logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """`capacity` pieces of work at once; `grace_seconds` for those that run when the service is stopped. A member
    of the group that is silent for `session_seconds` is given up.
    """

    capacity: int = 4
    grace_seconds: float = 20.0
    session_seconds: float = 10.0


class Runner:
    """Runs one worker. Work belongs to who claimed it, not to who owns its partition."""

    def __init__(
        self,
        log: EventLog,
        worker: Worker,
        store: ResultStore,
        settings: RunnerSettings,
        status: ServiceStatus,
        room: Room = EVERYWHERE,
    ) -> None:
        self._log = log
        self._worker = worker
        self._settings = settings
        self._status = status
        self._room = room
        self._results = RememberedResults(store, worker.traits.name) if worker.traits.keeps_results else None
        self._output = LiveOutput(log, worker.traits.name)
        self._jobs: dict[str, tuple[int, Job, asyncio.Task[None]]] = {}
        self._pauses = Pauses(RETRY_SECONDS)
        self._abreast = Abreast(max(2 * POLL_SECONDS, min(AWAY_SECONDS, settings.session_seconds / 2)))
        self._committed_at = monotonic()
        self._let_go_of: set[str] = set()
        self._unsure: set[str] = set()
        self._alarms: frozenset[str] = frozenset()
        self._grace_is_over = asyncio.Event()
        self._following: Following | None = None

    def read_to(self) -> Mapping[Place, int]:
        """Where what is followed has been read to; what cannot be read on is said by itself."""
        return {} if self._following is None else self._following.positions()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then take no more, let running work end within the grace, and leave."""
        beside = {asyncio.create_task(self._output.run()), asyncio.create_task(self._count_down(stop))}
        backoff = Backoff()
        try:
            while not stop.is_set():
                try:
                    await self._as_member(stop)
                except LogUnavailable as error:
                    self._status.unavailable(str(error))
                except Exception as error:
                    self._fail(error)
                await backoff.pause(stop)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)

    def _fail(self, error: Exception) -> None:
        """A fault of ours: it must not end in silence, nor take the other services along, and it may pass."""
        logger.exception("worker failed", worker=self._worker.traits.name)
        trouble = f"{type(error).__name__}: {error}"
        self._status.alarm(self._worker.traits.name, trouble)
        self._status.unavailable(trouble)

    async def _as_member(self, stop: asyncio.Event) -> None:
        """One membership: a member that was expelled kills its own work and joins anew."""
        membership = await joined(self._log, self._worker.traits.name, stop)
        if membership is None:
            return
        try:
            # Where the log hangs nothing else would end it when the grace is over.
            await first_of(self._stay(membership, stop), self._grace_is_over.wait())
            if not stop.is_set():
                self._status.unavailable("given up by its group: its work is ended, and it joins anew")
        finally:
            await self._kill_all()
            await membership.leave()

    async def _stay(self, membership: Membership, stop: asyncio.Event) -> None:
        """Follow the history for as long as we are a member, and are not drained."""
        living, backoff = Living(membership), Backoff()
        while not self._is_drained(stop) and not _has_lost_its_place(membership, living):
            began = monotonic()
            try:
                await self._follow(membership, living, stop)
            except LogUnavailable as error:
                self._status.unavailable(str(error))
                self._unsure.update(self._jobs)
                if monotonic() - began > WENT_WELL_SECONDS:
                    backoff = Backoff()
                await backoff.pause(self._grace_is_over if stop.is_set() else stop)

    async def _count_down(self, stop: asyncio.Event) -> None:
        """The grace begins at the very moment, whatever is waited for meanwhile."""
        await stop.wait()
        await asyncio.sleep(self._settings.grace_seconds)
        self._grace_is_over.set()

    def _is_drained(self, stop: asyncio.Event) -> bool:
        """Whether nothing keeps us: we were told to stop, and no work runs any more, or its grace is over."""
        if not stop.is_set():
            return False
        self._drop_waiting()
        return self._grace_is_over.is_set() or all(task.done() for _, _, task in self._jobs.values())

    async def _follow(self, membership: Membership, living: Living, stop: asyncio.Event) -> None:
        following = self._following = Following(self._log, membership, self._worker.traits)
        try:
            while True:
                await living.look(min(LIVING_SECONDS, self._settings.session_seconds / LOOKS_A_SESSION))
                if _has_lost_its_place(membership, living):
                    return
                await following.adjust(membership.partitions, self._busy())
                if stop.is_set():
                    following.hurry()
                await self._abreast.look(following)
                following.wait_for_claims(wanted=any(not job.is_answering for _, job, _ in self._jobs.values()))
                await following.read(POLL_SECONDS)
                self._reconcile(following)
                if self._is_drained(stop):
                    return
                if not stop.is_set() and await self._has_room():
                    await self._start_jobs(following, membership, living)
                await self._commit(following, membership)
                self._report(following)
        finally:
            self._following = None
            await following.close()

    def _busy(self) -> frozenset[int]:
        return frozenset(partition for partition, _, _ in self._jobs.values())

    def _report(self, following: Following) -> None:
        followed = following.followed.values()
        stopped = {f.partition: f"history unreadable at {f.unreadable}" for f in followed if f.unreadable}
        self._tell_alarms(
            {f"history-{partition}": trouble for partition, trouble in stopped.items()}
            | _quarantines(run for f in followed for run in f.requests.quarantined.items())
        )
        if stopped:
            # Alive, not ready, and saying why; what lies in other partitions is worked on.
            self._status.unavailable("; ".join(stopped.values()))
        elif all(f.caught_up for f in followed):
            waiting = sum(f.requests.standing_count for f in followed) - len(self._jobs)
            self._status.clear(self._worker.traits.name)
            self._status.ready(running=len(self._jobs), waiting=max(0, waiting), partitions=len(followed))

    def _tell_alarms(self, told: Mapping[str, str]) -> None:
        """Exactly these: whoever follows a partition next looks at it himself."""
        for key in self._alarms - told.keys():
            self._status.clear(key)
        for key, message in told.items():
            self._status.alarm(key, message)
        self._alarms = frozenset(told)

    def _reconcile(self, following: Following) -> None:
        """Tell running work what the history says of its request."""
        for request_id, (partition, job, task) in list(self._jobs.items()):
            if task.done():
                self._finish(request_id, task)
                continue
            followed = following.followed.get(partition)
            if followed is not None and followed.unreadable is not None:
                self._let_go(request_id, task)
            elif followed is not None and followed.caught_up:
                _tell(job, followed.requests.get(request_id))
                self._hurry_unsure(request_id, job)
        self._abreast.told(following)

    def _hurry_unsure(self, request_id: str, job: Job) -> None:
        """What it has submitted may have been lost with the log: what is missing is submitted again at once."""
        if request_id in self._unsure:
            self._unsure.discard(request_id)
            job.signals.hurry()

    def _finish(self, request_id: str, task: asyncio.Task[None]) -> None:
        """A job that ended without its request being closed comes again after a while, not at once."""
        del self._jobs[request_id]
        self._let_go_of.discard(request_id)
        self._unsure.discard(request_id)
        self._pauses.begin(request_id)
        _tell_failure(request_id, task)

    def _let_go(self, request_id: str, task: asyncio.Task[None]) -> None:
        """What becomes of the request cannot be read here any more: it stays open for whoever can, once we end."""
        if request_id not in self._let_go_of:
            self._let_go_of.add(request_id)
            task.cancel()

    def _drop_waiting(self) -> None:
        """Whoever has not been granted its claim yet does not begin any more, and nobody stands by."""
        for _, job, task in self._jobs.values():
            if job.is_waiting or job.stands_by:
                task.cancel()

    async def _start_jobs(self, following: Following, membership: Membership, living: Living) -> None:
        free = self._settings.capacity - sum(job.takes_a_place for _, job, _ in self._jobs.values())
        if free <= 0:
            return
        own = [f for p, f in following.followed.items() if p in membership.partitions and f.caught_up]
        open_work = [(f.partition, work) for f in own for work in f.requests.oldest(free, self._is_idle)]
        others = {w.claim.instance for _, w in open_work if w.claim and w.claim.instance != membership.instance}
        if any(map(living.is_gone, others)):
            await living.look()  # who has just come may have claimed since we last asked
        gone = {instance for instance in others if living.is_gone(instance)} | {membership.instance}
        startable = [(p, work) for p, work in open_work if work.claim is None or work.claim.instance in gone]
        for partition, work in sorted(startable, key=lambda pair: pair[1].event.recorded_at)[:free]:
            self._start(partition, work, membership.instance)

    async def _has_room(self) -> bool:
        """Work that runs goes on; new work is begun where it can be kept."""
        lack = await self._room.lack()
        if lack is None:
            self._status.unhinder("room")
        else:
            self._status.hinder("room", lack)
        return lack is None

    def _is_idle(self, work: OpenWork) -> bool:
        return work.id not in self._jobs and not self._pauses.holds(work.id)

    def _start(self, partition: int, work: OpenWork, instance: str) -> None:
        phase_id = str(getattr(work.event.data, "phase_id", ""))
        say = self._output.channel(work.project, work.event.run_id, phase_id, work.id)
        abreast = partial(self._abreast.until_told, partition)
        job = Job(self._log, self._worker, work, instance, self._results, say, abreast)
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
        self._pauses.forget_all_but({w.id for f in following.followed.values() for w in f.requests.standing()})

    async def _kill_all(self) -> None:
        """End running work without an answer: its request stays open for whoever comes next."""
        jobs, self._jobs = self._jobs, {}
        self._unsure.clear()
        tasks = {request_id: task for request_id, (_, _, task) in jobs.items()}
        for task in tasks.values():
            task.cancel()
        if tasks:
            await asyncio.wait(tasks.values())
        for request_id, task in tasks.items():
            _tell_failure(request_id, task)


def _has_lost_its_place(membership: Membership, living: Living) -> bool:
    return membership.is_expelled or living.is_gone(membership.instance)


def _quarantines(runs: Iterable[tuple[RunKey, str]]) -> dict[str, str]:
    """An alarm for each run that is in quarantine."""
    return {
        f"quarantine-{project}-{run_id}": f"run {run_id!r} of {project!r} is in quarantine: {reason}"
        for (project, run_id), reason in runs
    }


def _tell_failure(request_id: str, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("job failed", request=request_id, exc_info=error)


def _tell(job: Job, work: OpenWork | None) -> None:
    if work is None:
        job.signals.tell(Signal.CLOSED)
        return
    if work.claim is not None and work.claim.id == job.claim_id:
        job.signals.tell(Signal.CLAIMED)
    elif work.claim is not None and work.claim.id != (job.work.claim.id if job.work.claim else None):
        job.signals.tell(Signal.LOST)
    if work.revoked is not None:
        job.signals.tell(Signal.REVOKED)
