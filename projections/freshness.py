"""Whether what the tables say is recent, for somebody who looks again and again."""

from math import inf

from events.catalogue import Topic
from projections.status import Standing, Status

MOST_SECONDS = 5.0
"""In which all has to be read that is there at one moment. Run files follow the tables by two seconds and a look
where much goes on, and after an outage of the database the projector may rest for so long.
"""


class Freshness:
    """Marks where the log ends, and looks when all of it has been read; then it marks again.

    Every record is in the log before it is in a table, so while anything goes on somebody is behind at almost
    every moment. That says nothing. Tables are old where a mark is not reached in time, and stay so until one is,
    or until nobody is behind. While nothing is said, they hold what the log held twice `MOST_SECONDS` before the
    look. Whoever begins to look cannot know for how long something has been missing, and waits for all that there
    is.
    """

    def __init__(self) -> None:
        self._marks: dict[tuple[Topic, int], int] = {}
        self._marked_at = -inf
        self._was_in_time = False

    def trouble(self, status: Status, now: float) -> str | None:
        """Who is behind, if that has been so for too long. `now` is when the status was asked for, in seconds of a
        clock that never goes back; one that was asked for before another that was taken is passed over.
        """
        if now < self._marked_at:
            return None
        behind = [one for one in status.projections if one.standing is Standing.BEHIND]
        if all(one.next_offset >= self._marks.get((one.topic, one.partition), 0) for one in behind):
            self._was_in_time = not behind or now - self._marked_at < MOST_SECONDS
            self._marks = {(one.topic, one.partition): one.end for one in status.projections}
            self._marked_at = now
        if not behind or (self._was_in_time and now - self._marked_at < MOST_SECONDS):
            return None
        names = ", ".join(sorted({one.projection for one in behind}))
        return f"{names}: up to {max(one.lag for one in behind)} records behind, and not catching up in time"
