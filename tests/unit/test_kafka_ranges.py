"""An offset of the history that is not there: deleted, or beyond the end of a log that has lost its last."""

from typing import Any

import pytest

from events.catalogue import Topic
from events.log.kafka.reader import RangeReader
from events.log.port import HistoryCutOff, LogUnavailable, Place

HISTORY = Place(Topic.EVENTS, 0)


class FirstLeft:
    """Offsets that know where each partition begins."""

    async def start(self, _: Place) -> int:
        return 10


def _reader() -> RangeReader:
    nobody: Any = None
    offsets: Any = FirstLeft()
    return RangeReader(nobody, nobody, offsets, nobody)


async def test_history_that_was_deleted_is_said_to_be() -> None:
    with pytest.raises(HistoryCutOff) as cut:
        await _reader().first_left(HISTORY, 9)
    assert (cut.value.missing, cut.value.first) == (9, 10)


@pytest.mark.parametrize("beyond", [10, 99])
async def test_a_position_beyond_the_end_is_an_outage_after_which_its_reader_begins_anew(beyond: int) -> None:
    with pytest.raises(LogUnavailable, match=f"ends before {beyond}"):
        await _reader().first_left(HISTORY, beyond)


async def test_what_is_no_history_goes_on_with_what_is_left() -> None:
    assert await _reader().first_left(Place(Topic.RESULTS, 0), 3) == 10
