"""How long requests are left alone after a job of theirs has ended without an answer."""

from collections.abc import Callable, Container
from time import monotonic

LONGEST_SECONDS = 300.0


class Pauses:
    """One pause a request, twice as long each time, so that what always fails is neither a flood nor a spin."""

    def __init__(self, first_seconds: float, seconds: Callable[[], float] = monotonic) -> None:
        self._first_seconds = first_seconds
        self._seconds = seconds
        self._pauses: dict[str, tuple[float, float]] = {}

    def begin(self, request_id: str) -> None:
        """Leave a request alone for a while."""
        _, last = self._pauses.get(request_id, (0.0, self._first_seconds / 2))
        pause = min(2 * last, LONGEST_SECONDS)
        self._pauses[request_id] = (self._seconds() + pause, pause)

    def holds(self, request_id: str) -> bool:
        """Whether a request is left alone now."""
        return request_id in self._pauses and self._pauses[request_id][0] > self._seconds()

    def forget_all_but(self, request_ids: Container[str]) -> None:
        """Of requests that are no longer open nothing needs to be known."""
        self._pauses = {id_: pause for id_, pause in self._pauses.items() if id_ in request_ids}
