"""Every service dies at every failpoint of its own while builds go on, and nothing is lost or done twice."""

from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest

from faults.driving import EVENTS_A_RUN, Load, build_until, verdict
from faults.failpoints import deaths_table, points_on
from faults.ground import Ground, ground
from servers.kafka import KafkaBroker

DYING_SECONDS = 240.0
SETTLING_SECONDS = 120.0


def _ending_kinds(place: Ground) -> dict[str, int]:
    return dict(Counter(place.observer.ended.values()))


async def _die_everywhere(folder: Path, log: str, log_url: str, database_url: str, prefix: str) -> Ground:
    """Every failpoint of a log once, and every run at its end. Returns the ground, whose services have ended."""
    points = points_on(log)
    async with ground(folder, log_url, database_url, topic_prefix=prefix, failpoints=points) as place:
        try:
            await build_until(place, Load(3, EVENTS_A_RUN), lambda: not place.fleet.missing(), DYING_SECONDS)
        except TimeoutError:
            pytest.fail(f"never died at {place.fleet.missing()}\n{place.fleet.tails()}")
        await place.until_all_ended(SETTLING_SECONDS)
        await place.until_served(SETTLING_SECONDS)
    print(f"deaths at failpoints on {log}:\n{deaths_table(place.fleet.deaths())}")
    return place


def _assert_all_well(place: Ground, found: list[str], log: str) -> None:
    assert found == [], "\n".join(found)
    assert place.fleet.deaths() == Counter(
        (service, name) for service, names in points_on(log).items() for name in names
    )
    ends = _ending_kinds(place)
    assert ends.keys() == {"DONE_SUCCESS", "DONE_CANCELLED"}, ends


@pytest.mark.timeout(DYING_SECONDS + 2 * SETTLING_SECONDS)
async def test_nothing_is_lost_by_dying_at_any_failpoint_on_postgres(tmp_path: Path, database_url: str) -> None:
    place = await _die_everywhere(tmp_path, "postgres", database_url, database_url, "")
    _assert_all_well(place, await verdict(place), "postgres")


@pytest.mark.timeout(DYING_SECONDS + 2 * SETTLING_SECONDS)
async def test_nothing_is_lost_by_dying_at_any_failpoint_on_kafka(
    tmp_path: Path, database_url: str, kafka_broker: KafkaBroker
) -> None:
    log_url, prefix = f"kafka://{kafka_broker.bootstrap}", f"faults-{uuid4().hex[:8]}-"
    place = await _die_everywhere(tmp_path, "kafka", log_url, database_url, prefix)
    _assert_all_well(place, await verdict(place), "kafka")
