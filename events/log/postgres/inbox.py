"""What notifications have brought of one place, until whoever follows it takes it."""

from collections.abc import Callable, Collection

from events.log.port import Place, StoredRecord
from events.log.postgres.pushing import UNKNOWN, Pushed

MOST_WAITING = 64
"""Notifications that are kept unread for whoever waits for other events."""


class Inbox:
    """The records of a place from `position` on, as far as they were brought without a gap, up to `next`.

    `prompt` names the events that whoever follows is to be woken for, at the moment; None means all. What does not
    join on to what is here (a notification that was lost, records that were too large for one) has to be read.
    """

    def __init__(
        self, place: Place, position: int, prompt: Collection[str] | None, wake: Callable[[], None]
    ) -> None:
        self._place = place
        self._prompt = prompt
        self._wake = wake
        self._waiting: list[Pushed] = []
        self._heard_of = self.next = self.position = position

    @property
    def lags(self) -> bool:
        """There are records that were not brought: they have to be read."""
        return self._heard_of > self.next

    def bring(self, pushed: Pushed) -> None:
        """Take in a notification."""
        self._heard_of = max(self._heard_of, pushed.end)
        if pushed.body and pushed.start <= self.next < pushed.end and len(self._waiting) < MOST_WAITING:
            self._waiting.append(pushed)
            self.next = pushed.end
        prompt, types = self._prompt, pushed.types
        is_awaited = prompt is None or UNKNOWN in types or not types.isdisjoint(prompt)
        if is_awaited or len(self._waiting) == MOST_WAITING:
            self._wake()

    def move_to(self, offset: int) -> None:
        """Records before this offset have been read."""
        self.position = offset
        self._waiting = [pushed for pushed in self._waiting if pushed.end > offset]
        self.next = self._waiting[-1].end if self._waiting else offset
        self._heard_of = max(self._heard_of, self.next)

    def take(self) -> list[StoredRecord]:
        """What was brought, in order; the position moves behind it."""
        found: list[StoredRecord] = []
        for pushed in self._waiting:
            found += pushed.records(self._place, self.position)
            self.position = pushed.end
        self._waiting = []
        return found
