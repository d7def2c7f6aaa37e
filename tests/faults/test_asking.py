"""Whoever hangs, answers what nobody promises, or stands still while servers are away is found out."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from events.log.port import LogUnavailable
from faults import flooding
from faults.builds import Plans, targets
from faults.emitting import AnsweredBadly, Emitter, Unanswered
from faults.flooding import FloodedBadly, flood
from faults.ground import Ground
from faults.observer import Observer
from faults.outages import Wait
from faults.standing import StoodBadly, go_on_without

LIMIT_SECONDS = 60.0
MOMENT_SECONDS = 0.2
PLAN = {"project": "shop", "run_id": "run-1"}
Answers = Callable[[httpx.Request], httpx.Response]


def _hang(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("nothing came", request=request)


def _fail(request: httpx.Request) -> httpx.Response:
    return httpx.Response(500)


class _Log:
    """A log of one partition that is away, and then ends somewhere."""

    partition_count = 1

    def __init__(self, *ends: int) -> None:
        self._ends = list(ends)

    async def ends(self, topic: str) -> dict[int, int]:
        if not self._ends:
            raise LogUnavailable("away")
        return {0: self._ends.pop(0)}


def _place(folder: Any, answers: Answers) -> Ground:
    emitter = Emitter(cast(Any, _Log()), "http://nowhere", [])
    emitter._client = httpx.AsyncClient(transport=httpx.MockTransport(answers), base_url="http://nowhere")
    observer = Observer(cast(Any, _Log()))
    observer.newest["shop", "run-1"] = "RunRequested"
    return cast(Ground, SimpleNamespace(emitter=emitter, observer=observer, plans=Plans(targets(folder))))


async def _poured(place: Ground) -> str:
    """What a flood tells in which every request but the first comes when it has been answered."""
    async with asyncio.timeout(LIMIT_SECONDS), flood(place, LIMIT_SECONDS) as flooding_:
        pouring = asyncio.create_task(flooding_.pour())
        while not flooding_.taken:
            await asyncio.sleep(0)
        pouring.cancel()
    return str(flooding_)


@pytest.mark.parametrize(("answers", "found"), [(_hang, Unanswered), (_fail, AnsweredBadly)])
async def test_an_api_that_hangs_or_fails_when_a_run_is_asked_for_is_found(
    tmp_path: Any, answers: Answers, found: type[Exception]
) -> None:
    with pytest.raises(found):
        await _place(tmp_path, answers).emitter.post(PLAN)


@pytest.mark.parametrize(("answers", "found"), [(_hang, Unanswered), (_fail, FloodedBadly)])
async def test_an_api_that_hangs_or_fails_in_a_flood_is_found(
    tmp_path: Any, answers: Answers, found: type[Exception]
) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await _poured(_place(tmp_path, answers))
    assert caught.group_contains(found)


async def test_a_request_of_a_flood_is_sent_again_under_its_id_until_it_is_taken(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flooding, "EVERY_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr(flooding, "AGAIN_SECONDS", 0.0)
    keys: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        return httpx.Response(503 if len(keys) < 3 else 202)

    place = _place(tmp_path, answer)
    assert (await _poured(place)).startswith("1 requests taken, after 2 answers that they cannot be now")
    assert len(keys) == 3
    assert [told[3] for told in place.emitter._told] == [keys[0]] == list(set(keys))


async def test_what_was_written_before_and_is_seen_afterwards_is_no_movement() -> None:
    observer = Observer(cast(Any, _Log(5)))
    moving = asyncio.create_task(observer.until_moved())
    observer.positions[0] = 5
    _, waiting = await asyncio.wait({moving}, timeout=MOMENT_SECONDS)
    assert waiting == {moving}
    observer.positions[0] = 6
    async with asyncio.timeout(LIMIT_SECONDS):
        await moving


async def test_a_history_that_stands_still_without_one_of_three_brokers_is_found() -> None:
    async def outage(wait: Wait) -> None:
        await wait()

    fleet = SimpleNamespace(tails=lambda: "", process_ids=dict)
    place = SimpleNamespace(observer=Observer(cast(Any, _Log(5))), fleet=fleet)
    with pytest.raises(StoodBadly, match="broker 1: the history stands still"):
        await go_on_without(cast(Ground, place), "broker 1", outage, 2 * MOMENT_SECONDS)
