"""What the runner asks of a worker, and what it hands it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from events.catalogue import AnyEventData
from events.families.base import EventData, Usage
from events.families.failure import FailureClass


@dataclass(slots=True)
class Spending:
    """What a piece of work costs: nothing before an agent has `begun`; then `usage`, as soon as it is known."""

    begun: bool = False
    usage: Usage = field(default_factory=Usage)


async def _nothing_heard() -> None:
    """Nobody else is there who could hold it."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A request that this instance has claimed. `say` shows a line of output to whoever watches.

    `earlier_claim_ids` are all claims of the request before this one; the last of them is the one it replaces.
    `revoked` is set when nobody needs the answer any more: an agent that works then is told to stop, and what
    it used is still reported. `spending` is the worker's to fill in, whatever becomes of its answer.
    `standing_by` is set by work that waits for something outside, for as long as that takes: it takes no place.
    `still_ours` is awaited before an agent begins: it returns when the history, as of the last seconds, leaves the
    request to us, and raises WorkReplaced where it does not.
    """

    project: str
    run_id: str
    request_id: str
    requested_at: datetime
    request: EventData
    claim_id: str
    limit_seconds: float
    say: Callable[[str], None]
    earlier_claim_ids: tuple[str, ...] = ()
    revoked: asyncio.Event = field(default_factory=asyncio.Event)
    spending: Spending = field(default_factory=Spending)
    standing_by: asyncio.Event = field(default_factory=asyncio.Event)
    still_ours: Callable[[], Awaitable[None]] = _nothing_heard


@dataclass(frozen=True, slots=True)
class Terms:
    """What a claim says: how long the work may take, and who does it in what."""

    limit_seconds: float
    agent: str | None = None
    agent_version: str | None = None
    sandbox: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerTraits:
    """How the runner treats a worker's requests.

    `awaits_claim`: begin only when the history shows the claim, since doing it twice costs money.
    `keeps_results`: the answer is kept under the request's id while it is on its way to the log.
    """

    name: str
    requests: tuple[type[EventData], ...]
    answers: tuple[type[EventData], ...]
    awaits_claim: bool
    keeps_results: bool


class Worker(Protocol):
    """Turns one kind of request into its answer. It never sees the log."""

    @property
    def traits(self) -> WorkerTraits:
        """How its requests are treated."""
        ...

    async def terms(self, request: EventData) -> Terms:
        """What the claim shall say."""
        ...

    async def perform(self, assignment: Assignment) -> AnyEventData:
        """Do the work and return the answer.

        Cancelled when another holds the request, the service stops, or the request is revoked. In the last case
        work whose spending has begun is first left a few seconds in which to end by itself.
        """
        ...

    def failed(self, assignment: Assignment, failure: FailureClass, reason: str) -> AnyEventData | None:
        """The answer that says that the work could not be done, and what it cost; None leaves the request open."""
        ...


class WorkReplaced(Exception):
    """Another instance has taken this work over: it is left to that one, without an answer."""
