"""One claimed piece of work, from the claim to the answer in the history."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from time import monotonic, time

import structlog

from events.catalogue import AnyEventData, Topic
from events.event import Event
from events.failpoints import failpoint
from events.families.failure import FailureClass
from events.families.work import WorkStarted
from events.ids import derived_id
from events.log.port import EventLog, NewRecord
from services.processes.finishing import finished
from services.room import is_full
from services.runner.claiming import Claiming
from services.runner.open_requests import OpenWork
from services.runner.results import RememberedResults
from services.runner.signals import Signal, Signals
from services.runner.submitting import submission, submit_until_taken
from services.runner.worker import Assignment, Terms, Worker, WorkReplaced

ANSWER_AGAIN_SECONDS = 5.0
CLAIM_AGAIN_SECONDS = 5.0
CLAIM_PATIENCE_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 60.0
LIMIT_MARGIN_SECONDS = 10.0
LAST_WORDS_SECONDS = 4.0
"""An ending run waits 5 s for what revoked work used: the answer must be on its way before."""
KEEPING_SECONDS = 1.0
"""The history has the answer, so what it takes longer to keep it is not waited for: a disk may be full."""
RECALLING_SECONDS = 10.0
"""A store that does not answer keeps no place of work occupied."""
TRIES = 3
logger = structlog.get_logger(__name__)


class Job:
    """Claims a request, performs it, and submits the answer until the history shows it."""

    def __init__(
        self,
        log: EventLog,
        worker: Worker,
        work: OpenWork,
        instance: str,
        results: RememberedResults | None,
        say: Callable[[str], None],
        abreast: Callable[[], Awaitable[None]],
    ) -> None:
        self._log = log
        self._worker = worker
        self._instance = instance
        self._results = results
        self._say = say
        self._abreast = abreast
        self.work = work
        self.signals = Signals()
        self.claim_id = derived_id("claim", work.id, instance, self._replaced_id or "")
        self.is_answering = False
        self._performing: asyncio.Task[AnyEventData | None] | None = None
        self._standing_by: asyncio.Event | None = None

    @property
    def takes_a_place(self) -> bool:
        """Work that is done, and whose answer is on its way, takes none, nor does work that stands by."""
        return not (self.is_answering or self.stands_by)

    @property
    def stands_by(self) -> bool:
        """It waits for something outside, which may take long."""
        return self._standing_by is not None and self._standing_by.is_set()

    @property
    def is_waiting(self) -> bool:
        """Nothing is performed before a claim is granted, and it has not been yet."""
        return self._worker.traits.awaits_claim and self._performing is None and not self.is_answering

    @property
    def _replaced_id(self) -> str | None:
        return self.work.claim.id if self.work.claim else None

    @property
    def source(self) -> str:
        """Who submits: the service and this instance of it."""
        return f"/autopack/{self._worker.traits.name}/{self._instance}"

    async def run(self) -> None:
        """All of it. Ends early, without an answer, when the request is closed or another holds it.

        Whichever way it ends, nothing of the work goes on afterwards.
        """
        kept = await self._recall()
        if kept is not None:
            await self._answer([kept])
            return
        terms = await self._worker.terms(self.work.event.data)
        claiming = Claiming(self._log, self._claim(terms))
        try:
            await self._work(terms, claiming)
        finally:
            claiming.drop()
            if self._performing is not None:
                self._performing.cancel()
                await finished(self._performing)

    async def _work(self, terms: Terms, claiming: Claiming) -> None:
        """Perform, at once or when the claim is granted, and answer behind the claim, never before it."""
        if self._worker.traits.awaits_claim:
            await claiming.now()
            if not await self._granted(terms):
                return
        else:
            claiming.soon()
        try:
            answer = await self._performed(terms)
        except WorkReplaced as fact:
            logger.info("left to another instance", request=self.work.id, fact=str(fact))
            await claiming.now()  # that the history does not know the other is found out by its granting this one
            return
        if answer is not None:
            await self._give(answer, claiming)

    async def _give(self, answer: NewRecord, claiming: Claiming) -> None:
        """Keep an answer and submit it, at the same time: whichever is done first, it is lost no more."""
        if self._results is None:
            await self._answer(await claiming.before(answer))
            return
        keeping = asyncio.create_task(self._keep(answer), name=f"keep-{self.work.id}")
        try:
            await self._answer(await claiming.before(answer))
            await asyncio.wait({keeping}, timeout=KEEPING_SECONDS)
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})

    async def _recall(self) -> NewRecord | None:
        """What an earlier instance kept. Where work waits for its claim, nobody has begun it without one."""
        if self._results is None or (self._worker.traits.awaits_claim and self.work.claim is None):
            return None
        # Where it does not answer the request is left open: what is done could not be kept, and an agent may have
        # been paid for the answer.
        async with asyncio.timeout(RECALLING_SECONDS):
            return await self._results.recall(self.work.project, self.work.id)

    async def _keep(self, answer: NewRecord) -> None:
        """For whoever comes next, if this instance dies before the history has it.

        An answer that cannot be kept has been paid for all the same.
        """
        if self._results is None or self.signals.have(Signal.REVOKED):
            return
        try:
            await self._results.keep(self.work.project, self.work.id, answer)
        except Exception:  # whatever a store far away raises
            logger.exception("result not kept", request=self.work.id)
        else:
            failpoint("result-kept")

    def _claim(self, terms: Terms) -> NewRecord:
        """The claim, under an id that follows from what it is for: submitted again it is a repetition."""
        data = WorkStarted(
            request_id=self.work.id,
            instance=self._instance,
            limit_seconds=terms.limit_seconds,
            replaces=self._replaced_id,
            agent=terms.agent,
            agent_version=terms.agent_version,
            sandbox=terms.sandbox,
        )
        return self._record(data, self.claim_id)

    def _record(self, data: AnyEventData, event_id: str) -> NewRecord:
        event = Event(
            id=event_id,
            source=self.source,
            run_id=self.work.event.run_id,
            recorded_at=datetime.fromtimestamp(time(), UTC),
            data=data,
            cause_id=self.work.id,
            traceparent=self.work.event.traceparent,
        )
        return submission(event, self.work.project)

    async def _granted(self, terms: Terms) -> bool:
        """Wait until the history shows our claim, or that the request is somebody else's or closed.

        A claim that is refused shows nowhere. So after a while the place is left to other requests.
        """
        give_up_at, pause = monotonic() + CLAIM_PATIENCE_SECONDS, CLAIM_AGAIN_SECONDS
        while monotonic() < give_up_at:
            heard = await self.signals.first_of(
                Signal.CLAIMED, Signal.LOST, Signal.CLOSED, Signal.REVOKED, wait_seconds=pause
            )
            if heard is not None:
                return heard is Signal.CLAIMED
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            await submit_until_taken(self._log, Topic.RESULTS, [self._claim(terms)])
        return False

    async def _performed(self, terms: Terms) -> NewRecord | None:
        """The answer as a record, or None where nobody needs one any more. Raises WorkReplaced."""
        assignment = self._assignment(terms)
        self._standing_by = assignment.standing_by
        self._performing = asyncio.create_task(self._limited(assignment), name=f"perform-{self.work.id}")
        stopped = asyncio.create_task(self.signals.first_of(Signal.REVOKED, Signal.LOST, Signal.CLOSED))
        try:
            await asyncio.wait({self._performing, stopped}, return_when=asyncio.FIRST_COMPLETED)
            data = await self._outcome(assignment, self._performing)
        finally:
            stopped.cancel()
        if data is None:
            return None
        return self._record(data, derived_id("answer", self.work.id, self.claim_id))

    async def _outcome(
        self, assignment: Assignment, performing: asyncio.Task[AnyEventData | None]
    ) -> AnyEventData | None:
        if performing.done():
            return performing.result()
        if self.signals.have(Signal.LOST) or not self.signals.have(Signal.REVOKED):
            fact = Signal.LOST if self.signals.have(Signal.LOST) else Signal.CLOSED
            logger.info("work given up", request=self.work.id, fact=fact.value)
            return None
        return await self._last_words(assignment, performing)

    async def _last_words(
        self, assignment: Assignment, performing: asyncio.Task[AnyEventData | None]
    ) -> AnyEventData | None:
        """End revoked work, and say what it cost.

        An agent is told to stop and may still report what it used. What costs nothing has nothing to say.
        """
        assignment.revoked.set()
        if not assignment.spending.begun:
            performing.cancel()
        await asyncio.wait({performing}, timeout=LAST_WORDS_SECONDS)
        said = performing.result() if performing.done() and not performing.cancelled() else None
        if getattr(said, "failure", None) is FailureClass.REVOKED:
            return said
        return self._worker.failed(assignment, FailureClass.REVOKED, "the request was revoked")

    def _assignment(self, terms: Terms) -> Assignment:
        return Assignment(
            project=self.work.project,
            run_id=self.work.event.run_id,
            request_id=self.work.id,
            requested_at=self.work.event.recorded_at,
            request=self.work.event.data,
            claim_id=self.claim_id,
            limit_seconds=terms.limit_seconds,
            say=self._say,
            earlier_claim_ids=self.work.claim_ids,
            still_ours=self._still_ours,
        )

    async def _still_ours(self) -> None:
        """Whoever was stopped in its tracks may have been replaced meanwhile, and even answered by another."""
        await self._abreast()
        for signal in (Signal.LOST, Signal.CLOSED):
            if self.signals.have(signal):
                raise WorkReplaced(signal.value)

    async def _limited(self, assignment: Assignment) -> AnyEventData | None:
        """Perform within the claim's limit; a fault of ours is tried again, then reported as such.

        Once an agent has begun, nothing is tried again: it would be paid a second time, and for a fault that
        is not its own. What it left is lost, and the report says what it used.
        """
        for attempt in range(1, TRIES + 1):
            limit = asyncio.timeout(assignment.limit_seconds + LIMIT_MARGIN_SECONDS)
            try:
                async with limit:
                    return await self._worker.perform(assignment)
            except WorkReplaced:
                raise
            except Exception as error:
                if _is_cancelled():
                    # Work that stumbles while it is being ended is neither tried again nor asked for.
                    logger.exception("work did not end well", request=assignment.request_id)
                    raise asyncio.CancelledError from error
                if limit.expired():
                    reason = f"not done within {assignment.limit_seconds:g} seconds"
                    return self._worker.failed(assignment, FailureClass.TIMEOUT, reason)
                if is_full(error) and not assignment.spending.begun:
                    raise  # left open: nobody is at fault, and nothing more is begun before there is room again
                logger.exception("work failed", request=assignment.request_id, attempt=attempt)
                reason = f"{type(error).__name__}: {error}"
                if assignment.spending.begun:
                    break
        return self._worker.failed(assignment, FailureClass.INTERNAL, reason[:3000])

    async def _answer(self, records: Sequence[NewRecord]) -> None:
        """Submit until the history has closed the request, whoever's answer it took.

        An answer to a revoked request may be refused, so it is submitted once and not waited for; also when the
        run has ended meanwhile, for what was used is settled then.
        """
        self.is_answering = True
        pause = ANSWER_AGAIN_SECONDS
        while self.signals.have(Signal.REVOKED) or not self.signals.have(Signal.CLOSED):
            await submit_until_taken(self._log, Topic.RESULTS, records)
            failpoint("result-submitted")
            heard = await self.signals.first_of(Signal.REVOKED, Signal.CLOSED, wait_seconds=pause)
            if heard is Signal.REVOKED:
                return
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _is_cancelled() -> bool:
    """Whether somebody cancelled the task that we are; a time limit that has passed does not count."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
