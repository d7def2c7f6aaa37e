"""Where a phase waits: of each request, how long until its answer was made, and until the log had taken that."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from statistics import median
from typing import Any

import orjson

from benchmarks.driving import Driver, Load
from benchmarks.ground import Ground
from benchmarks.measures import Figures
from events.catalogue import Topic, event_name
from events.log.port import Place

ASKED = ("BuildRequested", "ApplyRequested", "ChecksRequested", "IntegrationRequested")
CLAIM = "WorkStarted"


async def hops(ground: Ground, load: Load) -> Figures:
    """Medians, of each kind of request: `made` counts from when the log took what led to the request.

    So deciding, writing and telling of it are within, and whoever answers reading it and working; `taken` is the
    way of the answer to the log. One after another they are the phase.
    """
    before = await ground.log.ends(Topic.EVENTS)
    await Driver(ground, load).drive()
    requests, made, taken = dict[str, tuple[str, datetime]](), dict[str, list[float]](), dict[str, list[float]]()
    async for event in _written_since(ground, before):
        name, recorded_at = event_name(event["type"]), datetime.fromisoformat(event["recordedtime"])
        if name in ASKED:
            requests[event["id"]] = (name.removesuffix("Requested").lower(), recorded_at)
        elif name != CLAIM and (asked := requests.get(event["data"].get("request_id", ""))) is not None:
            made_at = datetime.fromisoformat(event["time"])
            made.setdefault(asked[0], []).append((made_at - asked[1]).total_seconds())
            taken.setdefault(asked[0], []).append((recorded_at - made_at).total_seconds())
    return {
        (f"{kind}_{part}", "ms"): median(seconds) * 1000
        for kind in made
        for part, seconds in (("made", made[kind]), ("taken", taken[kind]))
    }


async def _written_since(ground: Ground, before: Mapping[int, int]) -> AsyncIterator[dict[str, Any]]:
    for partition, end in (await ground.log.ends(Topic.EVENTS)).items():
        position = before.get(partition, 0)
        while position < end and (records := await ground.log.read(Place(Topic.EVENTS, partition), position, end)):
            for record in records:
                yield orjson.loads(record.value)
            position = records[-1].offset + 1
