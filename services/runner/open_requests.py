"""The requests that stand open in a partition: requested, and not yet answered or revoked. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

import orjson

from events.catalogue import AnyEventData, event_name
from events.codec import HistoryEvent, read_history
from events.event import Event
from events.families.base import EventData
from events.families.run import RunCompleted, RunFailed
from events.families.work import RevokeReason, WorkRevoked, WorkStarted
from events.history import Link
from events.links import read_link_attributes
from events.log.port import StoredRecord
from events.plan import EXTERNAL
from services.runner.chains import Chains, RunKey
from services.runner.worker import WorkerTraits

CLAIM = WorkStarted.type_name()
_ENDS = (RunCompleted, RunFailed)
RUNS_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class StandingClaim:
    """Who has claimed a request, by the id of the claim."""

    id: str
    instance: str


@dataclass(frozen=True, slots=True)
class OpenWork:
    """One open request, as a worker sees it."""

    project: str
    event: Event
    offset: int
    claim: StandingClaim | None = None
    revoked: RevokeReason | None = None
    claim_ids: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The request's id."""
        return self.event.id


class OpenRequests:
    """Folds the history of one partition into the open requests of one kind of worker.

    Of records of types that do not matter here the place in their run's chain is read alone. A record that
    comes a second time is passed over, as far as the runs last heard of go: else it would open anew what was
    answered long ago. Nor is work that nobody asked for begun: one that does not extend its run's chain puts
    that run, and no other, into quarantine.
    """

    def __init__(self, traits: WorkerTraits, runs_remembered: int = RUNS_REMEMBERED) -> None:
        self._requests = traits.requests
        self._answers = traits.answers
        types: tuple[type[EventData], ...] = (
            *traits.requests,
            *traits.answers,
            WorkStarted,
            WorkRevoked,
            *_ENDS,
        )
        self._names = frozenset(t.__name__ for t in types)
        self._open: dict[str, OpenWork] = {}
        self._taken: dict[str, OpenWork] = {}
        self._free: dict[str, OpenWork] = {}
        self._ids_of: dict[RunKey, set[str]] = {}
        self._chains = Chains(runs_remembered)

    @property
    def runs_known(self) -> int:
        """Of how many runs it is known how far they were folded."""
        return len(self._chains)

    @property
    def quarantined(self) -> Mapping[RunKey, str]:
        """The runs, by project and id, of which nothing more is taken, and why."""
        return self._chains.quarantined

    def fold(self, record: StoredRecord) -> OpenWork | None:
        """Take in one record; the request that it changes or closes, if it is one of ours."""
        at = read_link_attributes(record.value, record.type_name)
        match self._chains.take(at, record.value):
            case Link.REPEATS:
                return None
            case Link.FORKS:
                self._close_run(at.project, at.run_id)
                return None
            case Link.EXTENDS:
                if event_name(at.type_name) not in self._names or self._is_anothers_claim(
                    record.value, at.type_name
                ):
                    return None
                return self._take(read_history(record.value, at.type_name), record.offset)

    def _is_anothers_claim(self, value: bytes, type_name: str) -> bool:
        """Whether it is a claim of what is no open request of ours: most are, and need not be read whole."""
        if type_name != CLAIM:
            return False
        try:
            return orjson.loads(value)["data"]["request_id"] not in self._open
        except (ValueError, KeyError, TypeError):
            return False  # whoever reads it whole says what is wrong with it

    def _take(self, read: HistoryEvent, offset: int) -> OpenWork | None:
        event, data = read.event, read.event.data
        if isinstance(data, self._requests):
            if getattr(data, "agent", None) == EXTERNAL:
                return None
            return self._set(OpenWork(read.project, event, offset))
        if isinstance(data, WorkStarted):
            return self._claimed(data.request_id, StandingClaim(event.id, data.instance))
        if isinstance(data, WorkRevoked):
            return self._revoke(data.request_id, data.reason)
        if isinstance(data, self._answers):
            return self._drop(_request_of(data))
        if isinstance(data, _ENDS):
            self._close_run(read.project, event.run_id)
        return None

    def _set(self, work: OpenWork) -> OpenWork:
        """Each is found by its id, by its run, and by whether it waits for somebody: however many there are."""
        self._open[work.id] = work
        self._ids_of.setdefault((work.project, work.event.run_id), set()).add(work.id)
        self._free.pop(work.id, None)
        self._taken.pop(work.id, None)
        if work.revoked is None:
            (self._free if work.claim is None else self._taken)[work.id] = work
        return work

    def _drop(self, request_id: str) -> OpenWork | None:
        work = self._open.pop(request_id, None)
        if work is not None:
            self._free.pop(request_id, None)
            self._taken.pop(request_id, None)
            run = (work.project, work.event.run_id)
            self._ids_of[run].discard(request_id)
            if not self._ids_of[run]:
                del self._ids_of[run]
        return work

    def _revoke(self, request_id: str, reason: RevokeReason) -> OpenWork | None:
        work = self._open.get(request_id)
        return None if work is None else self._set(replace(work, revoked=reason))

    def _claimed(self, request_id: str, claim: StandingClaim) -> OpenWork | None:
        work = self._open.get(request_id)
        if work is None:
            return None
        return self._set(replace(work, claim=claim, claim_ids=(*work.claim_ids, claim.id)))

    def _close_run(self, project: str, run_id: str) -> None:
        for request_id in list(self._ids_of.get((project, run_id), ())):
            self._drop(request_id)

    def get(self, request_id: str) -> OpenWork | None:
        """The request, while it is open."""
        return self._open.get(request_id)

    def standing(self) -> list[OpenWork]:
        """Requests to be worked on, oldest first."""
        return [work for work in self._open.values() if work.revoked is None]

    @property
    def standing_count(self) -> int:
        """How many there are of them."""
        return len(self._taken) + len(self._free)

    def oldest(self, count: int, wanted: Callable[[OpenWork], bool]) -> list[OpenWork]:
        """Of those that are wanted, the ones that are claimed, and the oldest so many that are not."""
        unclaimed = islice(filter(wanted, self._free.values()), count)
        return [*filter(wanted, self._taken.values()), *unclaimed]

    def oldest_offset(self) -> int | None:
        """The offset of the oldest open request: a new owner of the partition must begin no later."""
        return next((work.offset for work in self._open.values()), None)


def _request_of(answer: EventData | AnyEventData) -> str:
    return str(answer.request_id)  # type: ignore[union-attr]  # every answer names its request
