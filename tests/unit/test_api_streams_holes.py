"""Records of a run out of a log that has lost some."""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from events.catalogue import Topic
from events.log.port import HistoryCutOff, Place, StoredRecord
from services.api.streams import _between

PLACE = Place(Topic.EVENTS, 0)
FIRST_LEFT = 1_000_000
AT = datetime(2026, 1, 1, tzinfo=UTC)


class CutLog:
    """A history that begins far behind its beginning."""

    def __init__(self) -> None:
        self.reads = 0

    async def read(self, place: Place, start: int, end: int) -> Sequence[StoredRecord]:
        self.reads += 1
        if start < FIRST_LEFT:
            raise HistoryCutOff(place, start, FIRST_LEFT)
        return [StoredRecord(place.topic, 0, offset, "shop", b"{}", {}, AT) for offset in range(start, end)][:2]


async def read(log: CutLog, holes: bool) -> list[int]:
    context: Any = SimpleNamespace(log=log)
    return [record.offset async for record in _between(context, PLACE, 5, FIRST_LEFT + 3, holes)]


async def test_a_hole_is_passed_over_at_once_however_large_it_is() -> None:
    log = CutLog()
    assert await read(log, True) == [FIRST_LEFT, FIRST_LEFT + 1, FIRST_LEFT + 2]
    assert log.reads == 3


async def test_nobody_takes_a_shortened_history_for_a_whole_one() -> None:
    with pytest.raises(HistoryCutOff, match="offset 5; the first that is left is 1000000"):
        await read(CutLog(), False)
