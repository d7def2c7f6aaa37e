"""A service is killed where it holds open work of its own, and not where others do, or did."""

from types import SimpleNamespace
from typing import Any

import pytest

from faults import kills
from faults.kills import Killer
from faults.observer import Observer, OpenRequest

RUN = ("shop", "run-1")


class _Place(SimpleNamespace):
    """What a killer looks at, of which a test says what is there."""

    def __init__(self, members: dict[str, frozenset[int]], monkeypatch: pytest.MonkeyPatch) -> None:
        self.lag_of_tables = 0.0
        observer = Observer(SimpleNamespace(partition_count=1))  # type: ignore[arg-type]
        emitter = SimpleNamespace(pending=0, watches=SimpleNamespace(are_open=False), lag=self._lag)
        super().__init__(observer=observer, emitter=emitter, world=None, members=members)

        async def shares(world: object, group: str) -> dict[str, frozenset[int]]:
            return self.members

        monkeypatch.setattr(kills, "shares", shares)

    async def _lag(self) -> float:
        return self.lag_of_tables


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Any:
    return _Place({"builder-one": frozenset({0})}, monkeypatch)


async def test_a_claim_counts_as_long_as_its_claimer_has_not_been_killed(place: Any) -> None:
    killer = Killer(place, 1, 0.0)
    place.observer.open["asked"] = OpenRequest(RUN, "BuildRequested")
    place.observer.open["elsewhere"] = OpenRequest(RUN, "BuildRequested", is_external=True, claimer="builder-one")
    assert await killer._steps("builder") == set()
    place.observer.open["asked"] = OpenRequest(RUN, "BuildRequested", claimer="builder-one")
    assert await killer._steps("auditor") == set()
    assert await killer._steps("builder") == {"build claimed"}
    place.members = {"builder-one": frozenset(), "builder-two": frozenset({0})}
    assert await killer._steps("builder") == set()
    place.observer.open["more"] = OpenRequest(RUN, "BuildRequested", claimer="builder-two")
    assert await killer._steps("builder") == {"build claimed"}


async def test_a_supervisor_has_what_is_undecided_and_an_api_what_is_unanswered_or_watched(place: Any) -> None:
    killer = Killer(place, 1, 0.0)
    place.observer.newest[RUN] = "RunRequested"
    assert [await killer._steps(one) for one in ("supervisor", "projector", "api")] == [set(), set(), set()]
    place.observer.undecided["id"] = "BuildSucceeded"
    place.lag_of_tables, place.emitter.pending, place.emitter.watches.are_open = 1.0, 1, True
    assert await killer._steps("supervisor") == {"BuildSucceeded not decided"}
    assert await killer._steps("projector") == {"rows not written"}
    assert await killer._steps("api") == {"a command is not answered", "a run is watched"}


async def test_the_table_tells_what_was_never_struck(place: Any) -> None:
    killer = Killer(place, 1, 0.0)
    killer.struck["builder: build claimed"] = 3
    killer.struck["supervisor: IssueReported not decided"] = 1
    lines = {
        line.rsplit(maxsplit=1)[0].strip(): int(line.rsplit(maxsplit=1)[1]) for line in killer.table().splitlines()
    }
    assert lines["builder: build claimed"] == 3
    assert lines["supervisor: IssueReported not decided"] == 1
    assert lines["applier: integration claimed"] == lines["projector: rows not written"] == 0
