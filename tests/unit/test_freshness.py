"""When tables are too old to answer from: by how long something has been missing, not by how much."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from events.catalogue import Topic
from projections.freshness import MOST_SECONDS, Freshness
from projections.status import ProjectionStatus, Standing, Status


def status(*positions: tuple[str, int, int]) -> Status:
    """Of readers of one partition each: name, next offset and the end."""
    return Status([reader(*one, number) for number, one in enumerate(positions)], {})


def reader(name: str, next_offset: int, end: int, partition: int) -> ProjectionStatus:
    standing = Standing.BEHIND if next_offset < end else Standing.FOLLOWING
    return ProjectionStatus(name, 1, Topic.EVENTS, partition, next_offset, end, standing, None)


def behind(name: str, lag: int) -> str:
    return f"{name}: up to {lag} records behind, and not catching up in time"


def troubles(looks: Iterable[tuple[float, Status]]) -> list[str | None]:
    freshness = Freshness()
    return [freshness.trouble(one, now) for now, one in looks]


def test_whoever_is_a_little_behind_at_every_look_keeps_up() -> None:
    begins = (0.0, status(("runs", 7, 7)))
    assert troubles([begins, *((n, status(("runs", 7 + n, 10 + n))) for n in range(1, 100))]) == [None] * 100


def test_whoever_begins_to_look_waits_for_all_that_it_finds_and_no_longer() -> None:
    found = troubles((n, status(("runs", 10 * n, 35 + 5 * n))) for n in range(6))
    assert found == [*(behind("runs", lag) for lag in (35, 30, 25, 20)), None, None]


def test_what_is_missing_for_too_long_is_named_until_nothing_is() -> None:
    looks = [
        (0.0, status(("runs", 3, 3), ("tiers", 5, 5))),
        (1.0, status(("runs", 20, 20), ("tiers", 5, 9))),
        (1.0 + MOST_SECONDS - 0.1, status(("runs", 20, 20), ("tiers", 5, 9))),
        (1.0 + MOST_SECONDS, status(("runs", 20, 20), ("tiers", 5, 9))),
        (9.0, status(("runs", 20, 20), ("tiers", 9, 12))),
        (10.0, status(("runs", 20, 20), ("tiers", 12, 12))),
    ]
    assert troubles(looks) == [None, None, None, behind("tiers", 4), behind("tiers", 3), None]


def test_whoever_moves_on_and_stays_far_behind_is_not_in_time() -> None:
    late_by = 4 * int(MOST_SECONDS)
    looks = ((n, status(("runs", max(0, n - late_by), n))) for n in range(100))
    found = troubles(looks)
    assert found[: int(MOST_SECONDS)] == [None] * int(MOST_SECONDS)
    assert found[int(MOST_SECONDS) + 1 :] == [
        behind("runs", min(n, late_by)) for n in range(int(MOST_SECONDS) + 1, 100)
    ]


def test_who_has_stopped_is_told_elsewhere_and_holds_nobody_up() -> None:
    stopped = ProjectionStatus("tiers", 1, Topic.EVENTS, 0, 2, 9, Standing.STOPPED, "junk")
    assert troubles([(0.0, Status([stopped], {})), (99.0, Status([stopped], {}))]) == [None, None]


@given(st.lists(st.tuples(st.floats(0.1, 20), st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=40))
def test_what_is_called_recent_holds_what_was_there_twice_the_limit_ago(
    steps: list[tuple[float, int, int]],
) -> None:
    looks, now, end, read = [], 0.0, 0, 0
    for seconds, written, taken in steps:
        now, end = now + seconds, end + written
        read = min(end, read + taken)
        looks.append((now, read, end))
    said = troubles((at, status(("runs", read, end))) for at, read, end in looks)
    for (at, read, _), trouble in zip(looks, said, strict=True):
        old = [end for then, _, end in looks if then <= at - 2 * MOST_SECONDS]
        assert trouble is not None or read >= max(old, default=0)
