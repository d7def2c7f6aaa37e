"""What is sent of a run over HTTP is compared with the log: whatever is cut short, hangs or differs is found."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import httpx
import pytest

from faults.invariants.evidence import HISTORY, Log, Record
from faults.invariants.records import record
from faults.watching import Watches

RUN = ("shop", "run-1")
NAMES = ("RunRequested", "RunPrepared", "RunCompleted")
NEVER = 0.3
"""Seconds to wait for what never comes."""
AWAY = httpx.Response(503)
NOT_YET = httpx.Response(404)


def _record(sequence: int, name: str) -> Record:
    event = {"project": RUN[0], "runid": RUN[1], "sequence": sequence, "type": f"autopack.{name}.v1"}
    value = json.dumps({**event, "id": str(sequence)}).encode()
    return record(HISTORY, 0, sequence, b"shop", value, {}, datetime.now(UTC))


RECORDS = [_record(number, name) for number, name in enumerate(NAMES)]
LOG = Log(RECORDS, {})


class _Body(httpx.AsyncByteStream):
    """Lines, and then the end, none, or a wait for ever."""

    def __init__(self, lines: Sequence[bytes], breaks_off: bool, hangs: bool) -> None:
        self._lines, self._breaks_off, self._hangs = lines, breaks_off, hangs

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for line in self._lines:
            yield line
        if self._breaks_off:
            raise httpx.ReadError("killed")
        if self._hangs:
            await asyncio.Event().wait()


def _sent(*lines: bytes, breaks_off: bool = False, hangs: bool = False) -> httpx.Response:
    return httpx.Response(200, stream=_Body(lines, breaks_off, hangs))


def _lines(start: int, end: int) -> list[bytes]:
    return [one.value + b"\n" for one in RECORDS[start:end]]


async def _found(*answers: httpx.Response, limit_seconds: float = NEVER) -> list[str]:
    """What is found where a service answers like this, the last one again and again."""
    left = list(answers)
    served = httpx.MockTransport(lambda _: left.pop(0) if len(left) > 1 else left[0])
    async with httpx.AsyncClient(transport=served, base_url="http://nowhere") as client:
        watches = Watches(client)
        watches.begin(RUN)
        try:
            await watches.until_ended(limit_seconds * len(answers))
        except TimeoutError:
            await watches.close()
        return list(watches.violations(LOG))


async def test_what_comes_late_in_pieces_and_whole_is_as_it_should_be() -> None:
    pieces = _sent(*_lines(0, 1), breaks_off=True), _sent(*_lines(1, 3))
    assert await _found(NOT_YET, AWAY, *pieces, limit_seconds=15.0) == []


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([_sent(*_lines(0, 2))], id="ended-too-early"),
        pytest.param([_sent()], id="empty"),
        pytest.param([_sent(*_lines(0, 2), breaks_off=True), NOT_YET], id="gone-again"),
        pytest.param([NOT_YET], id="never-there"),
        pytest.param([AWAY], id="away-for-ever"),
        pytest.param([httpx.Response(500)], id="failing"),
        pytest.param([_sent(*_lines(0, 1), breaks_off=True), _sent(breaks_off=True)], id="breaks-off-for-ever"),
        pytest.param([_sent(*_lines(0, 3), hangs=True)], id="never-ended"),
        pytest.param([_sent(*_lines(0, 1), *_lines(2, 3))], id="gap"),
        pytest.param([_sent(*_lines(0, 1), b'{"type": "RunPrepared"}\n', *_lines(2, 3))], id="no-sequence"),
        pytest.param([_sent(*_lines(0, 2), _lines(2, 3)[0][:-9])], id="half-a-line"),
        pytest.param([_sent(*_lines(0, 2), b'{"sequence": 2}\n')], id="other-bytes"),
    ],
)
async def test_what_is_cut_short_hangs_or_differs_is_found(answers: list[httpx.Response]) -> None:
    found = await _found(*answers)
    assert len(found) == 1, found
    assert "shop/run-1" in found[0]
