"""The projector: follows the history and the rejections, and keeps every table and the run files up to date."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from time import thread_time
from typing import Any, Protocol

import structlog

from events.catalogue import Topic
from events.log.port import EventLog, HistoryCutOff, LogUnavailable, Membership, Place, StoredRecord, Tail
from projections.catalogue import PROJECTIONS
from projections.checkpoints import Overtaken
from projections.database import INSTALLING_SECONDS, UNAVAILABLE, WRITING_SECONDS, Pool, install, lent
from projections.follower import Follower
from projections.pausing import cut_short, until_set
from projections.projection import Projection
from projections.rebuild import expire_rejections
from projections.run_files.keeper import FilesStopped, RunFiles

GROUP = "projector"
FILES = "run files"
EXPIRY = "expiry of rejections"
WAIT_SECONDS = 0.5
PACE_SECONDS = 0.02
"""What comes in a stream is taken so often at most: a statement costs the same for one record as for fifty."""
RESTS = 2
"""Where there is much to do, the projector rests so many times as long as its thread has worked on it, and no
longer than all of it took: tables are a little later, and half of a processor stays for those who do the work.
What it only waited for, a server that was slow, is no reason to rest.
"""
BACKLOG_RECORDS = 250
"""Where so many come at once there is much to catch up with, and no rest."""
FILES_PACE_SECONDS = 0.25
"""So often at most files are looked after: each look costs statements, and a thread that writes."""
FILES_RESTS = 8
"""Where many runs go on a look takes long, and the next one comes after so many times as long."""
LONGEST_FILES_PACE_SECONDS = 2.0
LAST_FILES_SECONDS = 5.0
"""So long files are looked after once it is time to leave: what is under way then, or else one last look."""
LOOK_AGAIN_SECONDS = 5.0
EXPIRE_SECONDS = 3600.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
WENT_WELL_SECONDS = 10.0
"""After so long what went wrong before is no reason to wait long again."""

logger = structlog.get_logger(__name__)


class Report(Protocol):
    """Where the projector says how it stands."""

    def ready(self) -> None:
        """It follows all of its partitions."""

    def unavailable(self, trouble: str) -> None:
        """It waits for a server."""

    def alarm(self, key: str, message: str) -> None:
        """Somebody must look at this."""

    def clear(self, key: str) -> None:
        """The alarm's cause is gone."""

    def hinder(self, key: str, trouble: str) -> None:
        """It follows, but for what stands still."""

    def unhinder(self, key: str) -> None:
        """That goes on again."""


Work = Callable[[asyncio.Event], Awaitable[None]]


class Projector:
    """One of the processes that share out the partitions among themselves.

    A database or log that is away is waited for: then everything is let go, and begun anew from what the
    checkpoints say.
    """

    def __init__(
        self,
        pool: Pool,
        log: EventLog,
        report: Report,
        run_files: RunFiles | None = None,
        projections: Sequence[Projection[Any]] = PROJECTIONS,
    ) -> None:
        self._pool = pool
        self._log = log
        self._report = report
        self._run_files = run_files
        self._projections = tuple(projections)
        self._session: Session | None = None
        self._moved = asyncio.Event()
        self._stirred: set[int] = set()
        self._look_at_all = 0.0
        self._files_had_their_time = False

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that are followed at the moment."""
        return self._session.partitions if self._session else frozenset()

    def read_to(self) -> Mapping[Place, int]:
        """Where what is followed has been read to."""
        return self._session.read_to() if self._session else {}

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop` is set; then finish what was begun, the files too, and leave."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again_and_again(stop, self._follow, self._report.unavailable, GROUP))
            group.create_task(self._again_and_again(stop, self._keep_files, self._files_stand_still, FILES))
            group.create_task(self._again_and_again(stop, self._expire, self._alarm(EXPIRY), EXPIRY))
        if not self._files_had_their_time:
            await self._last_look()

    async def _last_look(self) -> None:
        """Whoever comes next goes on with what is not done now."""
        try:
            async with asyncio.timeout(LAST_FILES_SECONDS):
                await self._keep_files_of(self._stirred)
        except (FilesStopped, Overtaken, LogUnavailable, *UNAVAILABLE):
            return
        except Exception:
            logger.exception("projector failed", work=FILES)

    def _alarm(self, key: str) -> Callable[[str], None]:
        return lambda message: self._report.alarm(key, message)

    def _files_stand_still(self, message: str) -> None:
        self._report.alarm(FILES, message)
        self._report.hinder(FILES, message)

    async def _again_and_again(
        self, stop: asyncio.Event, work: Work, trouble: Callable[[str], None], alarm: str
    ) -> None:
        clock, pause = asyncio.get_running_loop().time, FIRST_PAUSE_SECONDS
        while not stop.is_set():
            began = clock()
            try:
                await work(stop)
                pause = FIRST_PAUSE_SECONDS
                continue
            except Overtaken as overtaken:
                logger.info("projector overtaken", detail=str(overtaken))
                await until_set(FIRST_PAUSE_SECONDS, stop)
                continue
            except (FilesStopped, LogUnavailable, *UNAVAILABLE) as error:
                trouble(f"{type(error).__name__}: {error}")
                logger.warning("projector waits", error=str(error))
            except Exception as error:
                # A fault of ours: it must not end in silence, nor take the other services along, and it may pass.
                logger.exception("projector failed", work=alarm)
                self._report.alarm(alarm, f"{type(error).__name__}: {error}")
                trouble(f"{type(error).__name__}: {error}")
            pause = FIRST_PAUSE_SECONDS if clock() - began > WENT_WELL_SECONDS else pause
            await until_set(pause, stop)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _follow(self, stop: asyncio.Event) -> None:
        entering = await cut_short(self._enter(), stop)  # silent servers keep nobody from leaving
        if entering.cancelled():
            return
        membership = entering.result()
        self._session = Session(self._pool, self._log, self._projections, self._report, self._stir)
        try:
            await self._session.follow(membership, stop)
        finally:
            self._session = None
            with suppress(LogUnavailable, *UNAVAILABLE):
                await membership.leave()

    async def _enter(self) -> Membership:
        async with lent(self._pool, WRITING_SECONDS) as connection:
            await connection.execute("SELECT 1")  # one that has died in silence is found out before minutes pass
        async with lent(self._pool, INSTALLING_SECONDS) as connection:
            await install(connection, self._projections)
        return await self._log.join(GROUP)

    async def _keep_files(self, stop: asyncio.Event) -> None:
        """Where the tables have moved, and once in a while everywhere: another process may have moved them."""
        clock = asyncio.get_running_loop().time
        began, look_at_all = clock(), self._look_at_all
        self._moved.clear()
        stirred, self._stirred = self._stirred & self.partitions, set()
        self._look_at_all = began  # unless all goes well
        wanted = self.partitions if began >= look_at_all else stirred
        # There may be thousands of runs to write, or a folder that hangs. Nothing is lost: the checkpoint moves
        # behind what is written, and a thread that is in the midst of a run goes on to its last file.
        keeping = await cut_short(self._keep_files_of(wanted), stop, LAST_FILES_SECONDS)
        if keeping.cancelled():
            self._files_had_their_time = True
            return
        keeping.result()
        pace = max(FILES_PACE_SECONDS, min(LONGEST_FILES_PACE_SECONDS, FILES_RESTS * (clock() - began)))
        self._report.clear(FILES)
        self._report.unhinder(FILES)
        self._look_at_all = began + LOOK_AGAIN_SECONDS if began >= look_at_all else look_at_all
        await until_set(WAIT_SECONDS if not self.partitions else LOOK_AGAIN_SECONDS, self._moved, stop)
        await until_set(began + pace - clock(), stop)

    async def _keep_files_of(self, partitions: Collection[int]) -> None:
        """Raises FilesStopped for the first partition that stands still; the others go on all the same."""
        if self._run_files is None:
            return
        stopped = []
        for partition in sorted(partitions):
            try:
                await self._run_files.keep(partition)
            except FilesStopped as error:
                self._files_stand_still(f"{type(error).__name__}: {error}")
                stopped.append(error)
        if stopped:
            raise stopped[0]

    def _stir(self, partitions: Collection[int]) -> None:
        """The tables have moved in these."""
        self._stirred.update(partitions)
        self._moved.set()

    async def _expire(self, stop: asyncio.Event) -> None:
        if self.partitions:
            await expire_rejections(self._pool, self._log)
            self._report.clear(EXPIRY)
        await until_set(EXPIRE_SECONDS if self.partitions else WAIT_SECONDS, stop)


class Session:
    """From joining the group to the first fault of a server."""

    def __init__(
        self,
        pool: Pool,
        log: EventLog,
        projections: Sequence[Projection[Any]],
        report: Report,
        moved: Callable[[Collection[int]], None],
    ) -> None:
        self._pool = pool
        self._log = log
        self._projections = projections
        self._report = report
        self._moved = moved
        self._tail: Tail = log.tail()
        self._followers: dict[Place, Follower] = {}
        self._shared = False
        self._still: frozenset[str] = frozenset()
        self.partitions: frozenset[int] = frozenset()

    def read_to(self) -> Mapping[Place, int]:
        """The next offset to be read of each place where somebody goes on; who catches up reads behind that."""
        return {place: follower.offset for place, follower in self._followers.items() if follower.goes_on}

    async def follow(self, membership: Membership, stop: asyncio.Event) -> None:
        """Fold what comes in the own partitions, until told to stop, or expelled: then one has to join anew.

        Raises what made it impossible.
        """
        clock = asyncio.get_running_loop().time
        looked_at = clock()
        try:
            while not (stop.is_set() or membership.is_expelled):
                await self._share(membership.partitions)
                batches = await self._batches()
                began, worked_before = clock(), thread_time()
                await self._take(batches)
                self._tell_stopped()
                took, worked = clock() - began, thread_time() - worked_before
                if clock() - looked_at > LOOK_AGAIN_SECONDS:
                    looked_at = clock()
                    await self._look_again()
                self._report.clear(GROUP)
                if 0 < sum(map(len, batches.values())) < BACKLOG_RECORDS:
                    await asyncio.sleep(max(PACE_SECONDS - took, min(RESTS * worked, took)))
        finally:
            await asyncio.gather(*(follower.end() for follower in self._followers.values()))
            self._followers.clear()
            self._tell_stopped()
            await self._tail.close()

    async def _batches(self) -> Mapping[Place, Sequence[StoredRecord]]:
        """What has come. A place whose history was deleted is told of before anything of the others, and left."""
        try:
            return await self._tail.batches(WAIT_SECONDS)
        except HistoryCutOff as cut:
            self._tail.unfollow(cut.place)
            await self._followers[cut.place].stand_still(cut)
            return {}

    async def _share(self, own: frozenset[int]) -> None:
        """Leave the partitions that are no longer ours, and begin with those that are new."""
        wanted = {Place(topic, partition) for topic in self._topics() for partition in own}
        for place in set(self._followers) - wanted:
            self._tail.unfollow(place)
            await self._followers.pop(place).end()
        for place in sorted(wanted - set(self._followers), key=lambda p: (p.topic, p.partition)):
            readers = [projection for projection in self._projections if place.topic in projection.topics]
            follower = Follower(self._pool, self._log, place, readers, self._report.alarm)
            await self._begin(place, follower)
            self._followers[place] = follower
        if own != self.partitions or not self._shared:
            self.partitions, self._shared = own, True
            self._report.ready()
            self._moved(own)

    def _tell_stopped(self) -> None:
        """Which projections stand still: others go on, and the service is not ready."""
        stopped = {key: why for follower in self._followers.values() for key, why in follower.stopped.items()}
        for key in self._still - stopped.keys():
            self._report.clear(key)
            self._report.unhinder(key)
        for key, why in stopped.items():
            self._report.alarm(key, why)
            self._report.hinder(key, why)
        self._still = frozenset(stopped)

    def _topics(self) -> frozenset[Topic]:
        return frozenset(topic for projection in self._projections for topic in projection.topics)

    async def _begin(self, place: Place, follower: Follower) -> None:
        await follower.begin()
        self._tail.follow(place, follower.offset)

    async def _take(self, batches: Mapping[Place, Sequence[StoredRecord]]) -> None:
        """Places side by side; one that was overtaken begins anew where the other has come to."""
        moved = {place for place, follower in self._followers.items() if follower.has_caught_up} | batches.keys()
        followers = [(place, follower) for place, follower in self._followers.items() if place in moved]
        taken = (follower.take(batches.get(place, ())) for place, follower in followers)
        outcomes = await asyncio.gather(*taken, return_exceptions=True)
        for (place, follower), outcome in zip(followers, outcomes, strict=True):
            if isinstance(outcome, Overtaken):
                logger.info("projector overtaken", detail=str(outcome))
                await self._begin(place, follower)
            elif isinstance(outcome, BaseException):
                raise outcome
        if batches:
            self._moved({place.partition for place in batches})

    async def _look_again(self) -> None:
        """Take in again what had stopped, and was rebuilt meanwhile."""
        for place, follower in self._followers.items():
            if await follower.misses_somebody():
                await self._begin(place, follower)
